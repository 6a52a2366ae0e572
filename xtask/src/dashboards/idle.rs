//! "Idle timeouts": how long connections were idle before their reset, and which timeout may explain that.

use anyhow::Result;
use rstwatch_verdict::cause::Cause;
use serde_json::json;

use super::dashboard::{Dashboard, direction_choice, fixed_choice};
use super::known_timeouts::{EDGES, Timeout, owners, timeouts};
use super::links::{IDLE, RESETS};
use super::overrides::{by_name, fixed, property};
use super::palette::causes;
use super::panel::Kind::{BarGauge, Heatmap, Stat, Text, TimeSeries};
use super::panel::Unit::{Count, PerSecond, Ratio, Seconds};
use super::panel::{Panel, panel, row};
use super::query::{buckets, query};
use super::table::table;

const DIED: &str = "min by (peer) (@idle_timeout_seconds{bound='died'})";
const SURVIVED: &str = "max by (peer) (@idle_timeout_seconds{bound='survived'})";

/// Timeouts marked by a line: those common in clouds.
const MARKED: [u32; 5] = [60, 240, 300, 350, 600];

pub(super) fn dashboard() -> Result<Dashboard> {
    let known = timeouts()?;
    let causes: Vec<_> = causes().into_iter().map(|(cause, _)| cause).collect();
    let mut panels = vec![row("Resets of idle connections")];
    panels.extend(overview());
    panels.extend([heatmap(&known), histogram(&known), medians(&known), row("Timeouts by destination")]);
    panels.extend(destinations());
    panels.extend([row("Well-known timeouts"), known_timeouts(&known)]);
    Ok(Dashboard {
        uid: IDLE,
        title: "rstwatch / Idle timeouts",
        description: "How long connections were idle before their reset, compared with well-known idle timeouts.",
        variables: vec![
            direction_choice(),
            fixed_choice("cause", "Cause", &causes, &["idle_reaped", "middlebox_idle", "no_such_connection"]),
        ],
        panels,
    })
}

fn overview() -> [Panel; 6] {
    [
        panel(
            Stat,
            "Resets of idle connections",
            "Resets per second of connections that the other end closed, or that a device on the path dropped, while they \
             were idle: `idle_reaped` and `middlebox_idle`.",
            PerSecond,
        )
        .target(query("sum(rate(@resets_total{direction=$,cause=~'idle_reaped|middlebox_idle'}[rate]))", "resets")),
        panel(
            Stat,
            "Share of all resets",
            "Resets of idle connections as a share of all resets, without refused connections. If it is high, align the \
             timeouts of pools and hops.",
            Ratio,
        )
        .target(query(
            "sum(rate(@resets_total{direction=$,cause=~'idle_reaped|middlebox_idle'}[rate])) / \
             (sum(rate(@resets_total{direction=$,cause!='refused'}[rate])) > 0)",
            "idle connections",
        )),
        panel(
            Stat,
            "Families after silence",
            "Resets per second whose verdict is a family of causes and whose connection had been silent for more than 1 s. An \
             idle timer may have ended them: `rstwatch trace --cause FAMILY` lists the candidates.",
            PerSecond,
        )
        .target(query(&families_after_silence(), "resets")),
        panel(
            Stat,
            "Median idle time",
            "Median idle time before resets of the selected causes in the time range, interpolated within a bucket.",
            Seconds,
        )
        .instant()
        .target(query(
            "histogram_quantile(0.5, sum by (le) \
             (rate(@reset_idle_seconds_bucket{direction=$,cause=$}[range])))",
            "median",
        )),
        panel(
            Stat,
            "Shortest timeout",
            "Shortest idle time after which a connection was reset, over all destinations. Connection pools must keep \
             connections idle for less.",
            Seconds,
        )
        .target(query("min(@idle_timeout_seconds{bound='died'})", "died")),
        panel(Stat, "Destinations with a timeout", "Destinations with an observed idle timeout.", Count)
            .target(query("count(count by (peer) (@idle_timeout_seconds{bound='died'}))", "destinations")),
    ]
}

/// From one end alone, a reset by a timer may have other explanations: its cause is a family then.
fn families_after_silence() -> String {
    let families = Cause::FAMILIES.map(Cause::as_str).join("|");
    let up_to = |bound| {
        format!("sum(rate(@reset_idle_seconds_bucket{{direction=$,cause=~'{families}',le=~'{}'}}[rate]))", edge(bound))
    };
    format!("{} - {}", up_to("+Inf"), up_to("1"))
}

/// Resets by a timeout appear just above its mark, because a mark is the upper bound of the bucket below.
fn heatmap(known: &[Timeout]) -> Panel {
    let mut heatmap = panel(
        Heatmap,
        "Idle time before reset",
        "Resets of the selected causes by idle time. A timeout appears as a horizontal line just above the mark for its \
         duration. Marks name well-known timeouts of exactly that duration; they are candidates, not proof.",
        Count,
    )
    .size(15, 16)
    .target(buckets("sum by (le) (increase(@reset_idle_seconds_bucket{direction=$,cause=$}[rate]))"));
    let marked = EDGES.iter().map(|edge| (edge, owners(known, *edge, edge + 1, 36))).filter(|(_, who)| !who.is_empty());
    heatmap.transformations = marked
        .map(|(edge, who)| {
            let options = json!({ "regex": format!("^{edge}(\\.0)?$"), "renamePattern": format!("{edge} s {who}") });
            json!({ "id": "renameByRegex", "options": options })
        })
        .collect();
    // Wide enough for the names.
    heatmap.option("yAxis", json!({ "axisPlacement": "left", "unit": "s", "axisWidth": 280 }))
}

/// One bar per bucket, labelled with the well-known timeouts in it.
fn histogram(known: &[Timeout]) -> Panel {
    let mut bars = panel(
        BarGauge,
        "Resets by idle time",
        "Resets of the selected causes in the time range, by idle time, with the well-known timeouts in each range. A timeout \
         of 60 s causes resets after 60 s or slightly more.",
        Count,
    )
    .size(9, 16);
    let ends = EDGES.iter().skip(1).map(|edge| (edge.to_string(), *edge)).chain([("+Inf".to_owned(), u32::MAX)]);
    for (from, (to, below)) in EDGES.iter().zip(ends) {
        let who = owners(known, *from, below, 28);
        let range = if below == u32::MAX { format!("over {from} s") } else { format!("{from}–{to} s") };
        let expr = format!("clamp_min({} - {}, 0)", up_to(&to), up_to(&from.to_string()));
        bars = bars.target(query(&expr, format!("{range} {who}").trim_end()));
    }
    bars.option("namePlacement", json!("left")).default("color", json!({ "mode": "continuous-YlRd" }))
}

/// Resets up to a bucket bound.
fn up_to(bound: &str) -> String {
    format!("sum(increase(@reset_idle_seconds_bucket{{direction=$,cause=$,le=~'{}'}}[range]))", edge(bound))
}

/// A bucket bound as a regular expression. Prometheus stores the bound 60 as `60.0` if it scraped OpenMetrics.
fn edge(bound: &str) -> String {
    if bound == "+Inf" { r"\\+Inf".to_owned() } else { format!(r"{bound}(\\.0)?") }
}

fn medians(known: &[Timeout]) -> Panel {
    let mut medians = panel(
        TimeSeries,
        "Median idle time by cause, and well-known timeouts",
        "Median idle time before resets of each selected cause. Dashed lines are well-known timeouts. A median that stays on \
         a line suggests that this timeout causes the resets.",
        Seconds,
    )
    .size(24, 9)
    .coloured(&causes())
    .custom("scaleDistribution", json!({ "type": "log", "log": 10 }))
    .custom("fillOpacity", json!(0))
    .target(query(
        "histogram_quantile(0.5, sum by (cause, le) \
         (rate(@reset_idle_seconds_bucket{direction=$,cause=$}[rate])))",
        "{{cause}}",
    ));
    for mark in MARKED {
        let name = format!("{mark} s {}", owners(known, mark, mark + 1, 60));
        let dashed = property("custom.lineStyle", &json!({ "fill": "dash", "dash": [8, 8] }));
        medians.overrides.push(by_name(&name, &[dashed, fixed("#8E8E8E")]));
        medians = medians.target(query(&format!("vector({mark})"), &name));
    }
    medians
}

fn destinations() -> [Panel; 2] {
    let bounds = table(
        "Timeout of each destination",
        "`survived`: the longest idle time that a connection to the destination survived. `died`: the shortest after which \
         one was reset. The timeout lies between the two. Keep pooled connections idle for less. `rstwatch timeouts` names \
         candidates.",
        "instance, peer",
    )
    .value("died", Seconds, "bottomk(100, min by (instance, peer) (@idle_timeout_seconds{bound='died'}))")
    .value("survived", Seconds, "max by (instance, peer) (@idle_timeout_seconds{bound='survived'})")
    .ascending()
    .link("instance", "Resets of this node", RESETS, &["instance"]);
    let history = panel(
        TimeSeries,
        "Timeout bounds over time",
        "Bounds of the ten shortest timeouts with both a lower and an upper bound. They converge as more idle times are \
         observed. Bounds that jump mean that the destination was reconfigured, or that its instances have different \
         timeouts.",
        Seconds,
    )
    .target(query(&format!("bottomk(10, {DIED} and on (peer) {SURVIVED})"), "{{peer}} died"))
    .target(query(&format!("{SURVIVED} and on (peer) bottomk(10, {DIED} and on (peer) {SURVIVED})"), "{{peer}} survived"));
    [bounds.build(), history]
}

fn known_timeouts(known: &[Timeout]) -> Panel {
    let mut lines = "| seconds | owner |\n|---:|---|\n".to_owned();
    let mut rest = known;
    while let Some(first) = rest.first() {
        let (equal, greater) = rest.split_at(rest.partition_point(|it| it.seconds <= first.seconds));
        let names: Vec<_> = equal.iter().map(|it| it.who.as_str()).collect();
        lines += &format!("| {} | {} |\n", first.seconds, names.join(", "));
        rest = greater;
    }
    panel(
        Text,
        "Well-known timeouts",
        "Default timeouts of vendors and programs, from rstwatch-verdict/src/known_timeouts/known.toml.",
        Count,
    )
    .option("content", json!(lines))
}
