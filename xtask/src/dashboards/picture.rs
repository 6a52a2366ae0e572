//! Renders a picture of a dashboard from its JSON and its query results, without Grafana. The picture says so.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::command::die_with_parent;
use dev_support::paths;
use serde_json::{Value, json};

use super::dashboard::Dashboard;
use super::panel_query::PanelQuery;

const UPLOT: &str = include_str!("../../../rstwatch/src/export/page/vendor/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("../../../rstwatch/src/export/page/vendor/uplot/uPlot.min.css");
const STYLE: &str = include_str!("picture/style.css");
const FORMAT: &str = include_str!("picture/format.js");
const SCRIPT: &str = include_str!("picture/draw.js");

const WIDTH: u64 = 1600;
/// Height of a cell of Grafana's grid, with its gap.
const CELL: u64 = 38;
/// Height of header and footer.
const MARGIN: u64 = 110;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Writes `docs/grafana-NAME.png`.
pub(super) fn draw(name: &str, dashboard: &Dashboard, instance: &str, queries: &[PanelQuery]) -> Result<()> {
    let dashboard = dashboard.json();
    let scratch = tempfile::tempdir()?;
    let page = scratch.path().join("page.html");
    fs::write(&page, html(&dashboard, instance, queries)?)?;
    let picture = paths::root().join(format!("docs/grafana-{name}.png"));
    let mut chromium = Command::new(paths::program("chromium").context("no chromium: install it")?);
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--hide-scrollbars", "--virtual-time-budget=4000"]);
    chromium.arg(format!("--user-data-dir={}", scratch.path().join("profile").display()));
    chromium.arg(format!("--window-size={WIDTH},{}", height(&dashboard)));
    chromium.arg(format!("--screenshot={}", picture.display())).arg(&page);
    run(chromium)?;
    ensure!(picture.is_file(), "chromium wrote no screenshot");
    println!("wrote {}", picture.strip_prefix(paths::root()).unwrap_or(&picture).display());
    Ok(())
}

/// Runs chromium, and kills it after a timeout because it does not always exit.
fn run(mut chromium: Command) -> Result<()> {
    chromium.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    die_with_parent(&mut chromium);
    let mut child = chromium.spawn().context("cannot start chromium")?;
    let started = Instant::now();
    while started.elapsed() < TIMEOUT {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "chromium failed ({status})");
            return Ok(());
        }
        sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    bail!("chromium did not exit within {} s", TIMEOUT.as_secs())
}

fn height(dashboard: &Value) -> u64 {
    let panels = dashboard["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    let end = |panel: &Value| panel["gridPos"]["y"].as_u64().zip(panel["gridPos"]["h"].as_u64()).map(|(y, h)| y + h);
    panels.iter().filter_map(end).max().unwrap_or_default() * CELL + MARGIN
}

fn html(dashboard: &Value, instance: &str, queries: &[PanelQuery]) -> Result<String> {
    let result = |it: &PanelQuery| json!({ "panel": it.panel, "target": it.target, "series": it.result });
    let results: Vec<_> = queries.iter().map(result).collect();
    // Escaped, so that no string can end the script element.
    let data = serde_json::to_string(&json!({ "dashboard": dashboard, "instance": instance, "results": results }))?
        .replace('<', "\\u003c");
    Ok(format!(
        "<!doctype html><meta charset=utf-8><style>{UPLOT_STYLE}{STYLE}</style><body>\
         <script>{UPLOT}</script><script>const DATA = {data};</script><script>{FORMAT}{SCRIPT}</script>"
    ))
}
