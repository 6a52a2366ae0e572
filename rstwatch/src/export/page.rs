//! `/`: the status page for people. Needs no network, no script; everything from outside is escaped.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};

use super::{AppState, Shared};
use crate::aggregate::Totals;
use crate::cause::{Cause, Direction};
use crate::escape::html;
use crate::explain;
use crate::probe::Probes;
use crate::record::Event;

/// How many verdicts are shown.
const SHOWN: usize = 50;

const STYLE: &str = "\
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884 }
td.n { text-align: right; font-variant-numeric: tabular-nums }
small { opacity: .75; display: block }
.missing { color: #c33; font-weight: 600 }
";

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

pub(super) async fn page(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(render(&shared.state, &shared.telemetry_path))
}

fn render(state: &AppState, telemetry_path: &str) -> String {
    let node = html(&state.node);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>rstwatch on {node}</title>\n\
         <link rel=\"stylesheet\" href=\"style.css\">\n<h1>rstwatch on {node}</h1>\n\
         <p>Version {}, revision {}. \
         <a href=\"{}\">metrics</a> · <a href=\"api/v1/events\">events</a> · <a href=\"readyz\">readiness</a></p>\n",
        html(state.build.version),
        html(state.build.revision),
        // Relative, so that they work behind a prefix.
        html(telemetry_path.trim_start_matches('/')),
    );
    totals(&mut out, &state.totals());
    verdicts(&mut out, &state.history.recent());
    probes(&mut out, &state.probes);
    out
}

fn totals(out: &mut String, totals: &Totals) {
    *out += "<h2>Resets by cause</h2>\n<table>\n<tr><th>cause<th>meaning<th>sent<th>received\n";
    let mut sums = by_cause(totals);
    sums.sort_by_key(|(_, [sent, received])| std::cmp::Reverse(sent + received));
    for (cause, [sent, received]) in sums {
        let brief = html(explain::entry(cause).brief);
        _ = writeln!(out, "<tr><td>{cause}<td>{brief}<td class=\"n\">{sent}<td class=\"n\">{received}");
    }
    *out += "</table>\n";
}

/// Sent and received resets of each cause that was met.
fn by_cause(totals: &Totals) -> Vec<(Cause, [u64; 2])> {
    let mut sums = BTreeMap::<Cause, [u64; 2]>::new();
    for (series, count) in totals.resets().filter(|(_, count)| *count > 0) {
        let [sent, received] = sums.entry(series.cause).or_default();
        match series.direction {
            Direction::Sent => *sent += count,
            Direction::Received => *received += count,
        }
    }
    sums.into_iter().collect()
}

fn verdicts(out: &mut String, recent: &[Arc<Event>]) {
    _ = writeln!(out, "<h2>Latest verdicts</h2>\n<table>\n<tr><th>time (UTC)<th>connection<th>owner<th>verdict");
    for event in recent.iter().rev().take(SHOWN) {
        verdict(out, event);
    }
    *out += "</table>\n";
}

fn verdict(out: &mut String, event: &Event) {
    let Event { time, direction, cause, sender, confidence, local, remote, because, .. } = event;
    let time = time.strftime("%F %T");
    let process =
        event.process.as_ref().map(|process| format!("{}[{}]", process.comm, process.pid)).unwrap_or_default();
    let workload = event
        .workload
        .as_ref()
        .map(|workload| format!("{} {}", workload.kind.as_str(), workload.name))
        .unwrap_or_default();
    let advice = explain::advice(*cause, event).unwrap_or_default();
    _ = writeln!(
        out,
        "<tr><td>{time}<td>{direction}<small>{local} {} {remote}</small><td>{}<small>{}</small>\
         <td><b>{cause}</b> {confidence}, by {sender}<small>{}</small><small>{}</small>",
        if *direction == Direction::Sent { "→" } else { "←" },
        html(&process),
        html(&workload),
        html(&because.join("; ")),
        html(&advice),
    );
}

fn probes(out: &mut String, Probes(probes): &Probes) {
    *out += "<h2>Probes</h2>\n<table>\n<tr><th>probe<th>state<th>detail<th>without it\n";
    for probe in probes {
        let (state, class) = (probe.state(), if probe.attached { "" } else { " class=\"missing\"" });
        let required = if probe.required { " (required)" } else { "" };
        _ = writeln!(
            out,
            "<tr><td>{}<td{class}>{state}{required}<td>{}<td>{}",
            html(probe.name),
            html(&probe.detail),
            html(probe.degrades)
        );
    }
    *out += "</table>\n";
}
