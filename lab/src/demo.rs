//! A handful of resets to look at.

use anyhow::Result;

use super::stage::{Played, Stage};
use super::table::rows;

/// What the demo makes.
const SHOWN: [&str; 5] = ["1", "2", "3", "5", "6a"];

pub(super) fn demo() -> Result<()> {
    let mut stage = Stage::build()?;
    for row in rows().filter(|row| SHOWN.contains(&row.id)) {
        match stage.play(row.id)? {
            Played::At(port) => println!("row {:3}  {} (server port {port})", row.id, row.what),
            Played::Lacks(program) => println!("row {:3}  skipped: no {program}", row.id),
        }
    }
    Ok(())
}
