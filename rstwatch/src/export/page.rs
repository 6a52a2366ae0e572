//! The status page at `/`.
//!
//! Scripts draw it from `/api/v1/…`; the parts that are written here also work without scripts. All untrusted text is escaped.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;

use super::{AppState, Shared};
use crate::kernel::probe::Probes;
use crate::present::render;
use crate::stats::aggregate::Totals;
use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::escape::html;
use rstwatch_verdict::event::Event;
use rstwatch_verdict::explain;
use rstwatch_verdict::judged::Judged;

/// Maximum verdicts without scripts.
const MAX_VERDICTS: usize = 50;

const TEMPLATE: &str = include_str!("page/index.html");

pub(super) async fn page(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(fill(TEMPLATE, |name| part(name, &shared.state, &shared.telemetry_path)))
}

/// The text for a name in the template, as HTML.
fn part(name: &str, state: &AppState, telemetry_path: &str) -> String {
    match name {
        "node" => html(&state.node),
        "version" => html(state.build.version),
        "revision" => html(state.build.revision),
        // Relative, so that it works behind a path prefix.
        "metrics" => html(telemetry_path.trim_start_matches('/')),
        "totals" => totals(&state.totals()),
        "verdicts" => verdicts(&state.history.recent()),
        "probes" => probes(&state.probes),
        _ => String::new(),
    }
}

/// Replaces each `{{name}}` of the template in one pass, so that inserted text is not expanded again.
fn fill(template: &str, part: impl Fn(&str) -> String) -> String {
    let mut pieces = template.split("{{");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or(("", piece));
        out += &part(name);
        out += rest;
    }
    out
}

fn totals(totals: &Totals) -> String {
    let mut out = String::new();
    let mut sums = by_cause(totals);
    sums.sort_by_key(|(_, [sent, received])| std::cmp::Reverse(sent + received));
    for (cause, [sent, received]) in sums {
        let brief = html(cause.entry().brief);
        _ = writeln!(out, "<tr><td>{cause}<td>{brief}<td class=\"n\">{sent}<td class=\"n\">{received}");
    }
    out
}

/// Sent and received resets of each cause that occurred.
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

fn verdicts(recent: &[Arc<Judged>]) -> String {
    recent.iter().rev().take(MAX_VERDICTS).map(|judged| verdict(judged)).collect()
}

fn verdict(Judged { event, timing, .. }: &Judged) -> String {
    let Event { time, direction, cause, sender, confidence, local, remote, because, .. } = event;
    let time = time.strftime("%F %T");
    let process =
        event.process.as_ref().map(|process| format!("{}[{}]", process.comm, process.pid)).unwrap_or_default();
    let workload = event.workload.as_ref().map(render::named).unwrap_or_default();
    let guidance: String = explain::guidance(event, timing.timer)
        .into_iter()
        .flatten()
        .map(|text| format!("<small>{}</small>", html(&text)))
        .collect();
    format!(
        "<tr><td>{time}<td>{direction}<small>{local} {} {remote}</small><td>{}<small>{}</small>\
         <td><b>{cause}</b> {confidence}, by {sender}<small>{}</small>{guidance}\n",
        if *direction == Direction::Sent { "→" } else { "←" },
        html(&process),
        html(&workload),
        html(&because.join("; ")),
    )
}

fn probes(Probes(probes): &Probes) -> String {
    let mut out = String::new();
    for probe in probes {
        let (state, class) = (probe.state(), if probe.is_attached() { "" } else { " class=\"missing\"" });
        let required = if probe.required { " (required)" } else { "" };
        _ = writeln!(
            out,
            "<tr><td>{}<td{class}>{state}{required}<td>{}<td>{}",
            html(probe.name),
            html(&probe.detail()),
            html(&probe.degrades())
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_text_is_not_expanded_again() {
        let part = |name: &str| if name == "node" { "{{totals}}".to_owned() } else { format!("<{name}>") };
        assert_eq!(fill("a {{node}} b {{totals}}", part), "a {{totals}} b <totals>");
        assert_eq!(fill("{{", |_| "x".to_owned()), "x");
    }

    #[test]
    fn the_template_uses_exactly_the_known_names() {
        let known = ["node", "version", "revision", "metrics", "totals", "verdicts", "probes"];
        let used = TEMPLATE.split("{{").skip(1).filter_map(|piece| piece.split_once("}}"));
        let used: Vec<_> = used.map(|(name, _)| name).collect();
        assert!(used.iter().all(|name| known.contains(name)) && known.iter().all(|name| used.contains(name)));
    }
}
