//! A handful of resets to look at.

use anyhow::{Context, Result};

use super::nft::Rejects;
use super::place::Family;
use super::rows::Scene;
use super::run::{FIRST_PORT, build};
use super::select::missing;
use super::table::rows;

/// What the demo makes.
const SHOWN: [&str; 5] = ["1", "2", "3", "5", "6a"];

pub(super) fn demo() -> Result<()> {
    let net = build()?;
    let rejects = Rejects::default();
    let mut port = FIRST_PORT;
    for row in rows().filter(|row| SHOWN.contains(&row.id)) {
        if let Some(program) = missing(row) {
            println!("row {:3}  skipped: no {program}", row.id);
            continue;
        }
        let scene = Scene::new(&net, &rejects, Family::V4, port);
        (row.make)(&scene).with_context(|| format!("row {}", row.id))?;
        println!("row {:3}  {} (server port {port})", row.id, row.what);
        port += 1;
    }
    Ok(())
}
