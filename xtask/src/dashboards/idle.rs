//! "Idle timeouts": how long connections had been quiet when they were reset, and whose timeout that may be.

use anyhow::Result;
use serde_json::json;

use super::columns::columns;
use super::dashboard::{Dashboard, words};
use super::known::{EDGES, Timeout, timeouts, whose};
use super::palette::{CAUSES, fixed};
use super::panel::Kind::{BarGauge, Heatmap, Stat, Text, TimeSeries};
use super::panel::Unit::{Count, PerSecond, Seconds, Share};
use super::panel::{Panel, panel, row};
use super::query::{buckets, query};
use super::{IDLE, RESETS};

const DIED: &str = "min by (peer) (@idle_timeout_seconds{bound='died'})";
const SURVIVED: &str = "max by (peer) (@idle_timeout_seconds{bound='survived'})";

/// Timeouts that a line marks: those that one meets in clouds.
const MARKED: [u32; 5] = [60, 240, 300, 350, 600];

pub(super) fn dashboard() -> Result<Dashboard> {
    let known = timeouts()?;
    let causes = CAUSES.map(|(cause, _)| cause);
    let mut panels = vec![row("Resets after silence")];
    panels.extend(glance());
    panels.extend([heatmap(&known), bars(&known), medians(&known), row("Timeouts by destination")]);
    panels.extend(brackets());
    panels.extend([row("Well-known timeouts"), table_of(&known)]);
    Ok(Dashboard {
        uid: IDLE,
        title: "rstwatch / Idle timeouts",
        about: "How long connections had been quiet when they were reset, next to the well-known idle \
            timeouts.",
        variables: vec![
            words("direction", "Direction", &["sent", "received"], &[]),
            words("cause", "Cause", &causes, &["idle_reaped", "middlebox_idle", "no_such_connection"]),
        ],
        panels,
    })
}

fn glance() -> [Panel; 5] {
    [
        panel(
            Stat,
            "Resets after silence",
            "Resets per second of connections that had been closed or forgotten while quiet: \
             `idle_reaped` and `middlebox_idle`.",
            PerSecond,
        )
        .size(5, 4)
        .ask(query("sum(rate(@resets_total{direction=$,cause=~'idle_reaped|middlebox_idle'}[rate]))", "resets")),
        panel(
            Stat,
            "Share of all resets",
            "Resets after silence of all resets, refused connects left out. High: align the timeouts of \
             pools and hops.",
            Share,
        )
        .size(5, 4)
        .ask(query(
            "sum(rate(@resets_total{direction=$,cause=~'idle_reaped|middlebox_idle'}[rate])) / \
             (sum(rate(@resets_total{direction=$,cause!='refused'}[rate])) > 0)",
            "after silence",
        )),
        panel(
            Stat,
            "Median silence",
            "Half of the resets of the selected causes in the time range came after a shorter silence. \
             Interpolated within a bucket.",
            Seconds,
        )
        .size(5, 4)
        .now()
        .ask(query(
            "histogram_quantile(0.5, sum by (le) \
             (rate(@reset_idle_seconds_bucket{direction=$,cause=$}[range])))",
            "median",
        )),
        panel(
            Stat,
            "Shortest timeout",
            "The shortest silence that a connection died of, over all destinations. Pools must keep \
             connections idle for less.",
            Seconds,
        )
        .size(5, 4)
        .ask(query("min(@idle_timeout_seconds{bound='died'})", "died")),
        panel(Stat, "Destinations with a timeout", "Destinations of which a timeout was seen.", Count)
            .ask(query("count(count by (peer) (@idle_timeout_seconds{bound='died'}))", "destinations")),
    ]
}

/// A bucket's upper edge is where the next begins: a timeout's resets lie just above its mark.
fn heatmap(known: &[Timeout]) -> Panel {
    let mut heatmap = panel(
        Heatmap,
        "Silence at reset",
        "How many resets of the selected causes came after how long a silence. A timer shows as a \
         line: its resets lie just above the mark of its length. Marks name the well-known timeouts \
         of just that length; they are candidates, not culprits.",
        Count,
    )
    .size(15, 16)
    .ask(buckets("sum by (le) (increase(@reset_idle_seconds_bucket{direction=$,cause=$}[rate]))"));
    let marked = EDGES.iter().map(|edge| (edge, whose(known, *edge, edge + 1, 36))).filter(|(_, who)| !who.is_empty());
    heatmap.transformations = marked
        .map(|(edge, who)| {
            let options = json!({ "regex": format!("^{edge}(\\.0)?$"), "renamePattern": format!("{edge} s {who}") });
            json!({ "id": "renameByRegex", "options": options })
        })
        .collect();
    // The names need room.
    heatmap.option("yAxis", json!({ "axisPlacement": "left", "unit": "s", "axisWidth": 280 }))
}

/// From each edge to the next, with whose timeouts lie between.
fn bars(known: &[Timeout]) -> Panel {
    let mut bars = panel(
        BarGauge,
        "Resets by length of silence",
        "Resets of the selected causes in the time range, by length of silence, with the well-known \
         timeouts of that length: a timeout of 60 s makes resets after 60 s or somewhat more.",
        Count,
    )
    .size(9, 16);
    let ends = EDGES.iter().skip(1).map(|edge| (edge.to_string(), *edge)).chain([("+Inf".to_owned(), u32::MAX)]);
    for (from, (to, below)) in EDGES.iter().zip(ends) {
        let who = whose(known, *from, below, 28);
        let length = if below == u32::MAX { format!("over {from} s") } else { format!("{from}–{to} s") };
        let expr = format!("clamp_min({} - {}, 0)", up_to(&to), up_to(&from.to_string()));
        bars = bars.ask(query(&expr, format!("{length} {who}").trim_end()));
    }
    bars.option("namePlacement", json!("left")).default("color", json!({ "mode": "continuous-YlRd" }))
}

/// Prometheus writes the edge 60 as `60.0` when it read OpenMetrics.
fn up_to(edge: &str) -> String {
    let edge = if edge == "+Inf" { r"\\+Inf".to_owned() } else { format!(r"{edge}(\\.0)?") };
    format!("sum(increase(@reset_idle_seconds_bucket{{direction=$,cause=$,le=~'{edge}'}}[range]))")
}

fn medians(known: &[Timeout]) -> Panel {
    let mut medians = panel(
        TimeSeries,
        "Median silence by cause, and well-known timeouts",
        "The median silence of each selected cause. Dashed: well-known timeouts. A cause that keeps \
         to a line has that timer behind it.",
        Seconds,
    )
    .size(24, 9)
    .by_cause()
    .custom("scaleDistribution", json!({ "type": "log", "log": 10 }))
    .custom("fillOpacity", json!(0))
    .ask(query(
        "histogram_quantile(0.5, sum by (cause, le) \
         (rate(@reset_idle_seconds_bucket{direction=$,cause=$}[rate])))",
        "{{cause}}",
    ));
    for mark in MARKED {
        let name = format!("{mark} s {}", whose(known, mark, mark + 1, 60));
        medians.overrides.push(json!({
            "matcher": { "id": "byName", "options": name },
            "properties": [
                { "id": "custom.lineStyle", "value": { "fill": "dash", "dash": [8, 8] } },
                fixed("#8E8E8E"),
            ],
        }));
        medians = medians.ask(query(&format!("vector({mark})"), &name));
    }
    medians
}

fn brackets() -> [Panel; 2] {
    let table = columns(
        "Timeout of each destination",
        "The longest silence that a connection to the destination survived, and the shortest that one \
         died of: its timeout lies between. Keep connections of pools idle for less. `rstwatch \
         timeouts` names candidates.",
        "instance, peer",
    )
    .value("died", Seconds, "bottomk(100, min by (instance, peer) (@idle_timeout_seconds{bound='died'}))")
    .value("survived", Seconds, "max by (instance, peer) (@idle_timeout_seconds{bound='survived'})")
    .ascending()
    .link("instance", "Resets of this node", RESETS, &["instance"]);
    let course = panel(
        TimeSeries,
        "Brackets over time",
        "The ten shortest timeouts that are known from both sides. The bounds close in on the timeout \
         as more silences are seen. Bounds that jump: the destination was reconfigured, or its \
         instances have different timeouts.",
        Seconds,
    )
    .ask(query(&format!("bottomk(10, {DIED} and on (peer) {SURVIVED})"), "{{peer}} died"))
    .ask(query(&format!("{SURVIVED} and on (peer) bottomk(10, {DIED} and on (peer) {SURVIVED})"), "{{peer}} survived"));
    [table.done(), course]
}

fn table_of(known: &[Timeout]) -> Panel {
    let mut lines = "| seconds | whose |\n|---:|---|\n".to_owned();
    let mut rest = known;
    while let Some(first) = rest.first() {
        let (here, after) = rest.split_at(rest.partition_point(|it| it.seconds <= first.seconds));
        let names: Vec<_> = here.iter().map(|it| it.who.as_str()).collect();
        lines += &format!("| {} | {} |\n", first.seconds, names.join(", "));
        rest = after;
    }
    panel(Text, "Well-known timeouts", "Defaults of vendors and programs, as of 2026.", Count)
        .option("content", json!(lines))
}
