//! Tests of the committed dashboard files.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::links::{CAPACITY, IDLE, RESETS};
use super::live::MAY_BE_EMPTY;
use super::palette::{SENDERS, Word, causes};
use super::panel_query::{PanelQuery, Variables, panel_queries};
use super::query::SELECTED;
use super::{all, file, text};

const UNITS: [&str; 5] = ["cps", "short", "s", "bytes", "percentunit"];
/// Variables of Grafana itself.
const BUILT_IN: [&str; 5] = ["__rate_interval", "__range", "__all", "__data", "__url_time_range"];

fn committed() -> Vec<Value> {
    let read = |name| serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap();
    all().unwrap().iter().map(|(name, _)| read(*name)).collect()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Each panel with queries, and its name for messages.
fn panels_with_queries(dashboards: &[Value]) -> Vec<(String, &Value)> {
    let panels = dashboards.iter().flat_map(|dashboard| {
        let name = |panel| format!("{} / {}", string(dashboard, "uid"), string(panel, "title"));
        list(dashboard, "panels").iter().map(move |panel| (name(panel), panel))
    });
    panels.filter(|(_, panel)| !["row", "text"].contains(&string(panel, "type"))).collect()
}

fn expressions(dashboards: &[Value]) -> Vec<(String, &str)> {
    let of =
        |(name, panel)| list(panel, "targets").iter().map(move |target| (String::clone(&name), string(target, "expr")));
    panels_with_queries(dashboards).into_iter().flat_map(of).collect()
}

#[test]
fn the_committed_files_are_the_generated_ones() {
    for (name, dashboard) in all().unwrap() {
        let committed = std::fs::read_to_string(file(name)).unwrap();
        assert_eq!(committed, text(&dashboard), "{name}.json: run `cargo xtask dashboards`");
    }
}

#[test]
fn dashboards_have_stable_uids() {
    let dashboards = committed();
    let uids: Vec<_> = dashboards.iter().map(|it| string(it, "uid")).collect();
    assert_eq!(uids, [RESETS, IDLE, CAPACITY]);
    assert!(uids.iter().all(|uid| uid.len() <= 40));
    let titles: BTreeSet<_> = dashboards.iter().map(|it| string(it, "title")).collect();
    assert_eq!(titles.len(), dashboards.len());
    for dashboard in &dashboards {
        assert_eq!(dashboard["schemaVersion"], 39);
        assert!(dashboard["id"].is_null(), "an ID belongs to one Grafana instance");
        assert!(list(dashboard, "tags").contains(&"rstwatch".into()));
        assert!(dashboard["time"]["from"].is_string() && dashboard["refresh"].is_string());
    }
}

#[test]
fn panels_have_unique_ids_and_do_not_overlap() {
    for dashboard in &committed() {
        let panels = list(dashboard, "panels");
        let ids: BTreeSet<_> = panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
        let mut taken = BTreeSet::new();
        for panel in panels {
            let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(side("w") > 0 && side("h") > 0 && side("x") + side("w") <= 24, "{}", string(panel, "title"));
            for x in side("x")..side("x") + side("w") {
                for y in side("y")..side("y") + side("h") {
                    assert!(taken.insert((x, y)), "{} overlaps another panel", string(panel, "title"));
                }
            }
        }
    }
}

#[test]
fn panels_have_descriptions_and_units() {
    let dashboards = committed();
    for (name, panel) in panels_with_queries(&dashboards) {
        assert!(string(panel, "description").len() > 20, "{name}: no description");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
        let unit = string(&panel["fieldConfig"]["defaults"], "unit");
        assert!(UNITS.contains(&unit), "{name}: unit {unit:?}");
        let steps = list(&panel["fieldConfig"]["defaults"]["thresholds"], "steps");
        assert!(steps.first().is_some_and(|first| first["value"].is_null()), "{name}: thresholds have no base");
    }
}

#[test]
fn targets_have_unique_ids_and_legends() {
    let dashboards = committed();
    for (name, panel) in panels_with_queries(&dashboards) {
        let targets = list(panel, "targets");
        let ids: BTreeSet<_> = targets.iter().map(|it| string(it, "refId")).collect();
        assert!(!targets.is_empty() && ids.len() == targets.len(), "{name}: refId");
        let legends: BTreeSet<_> = targets.iter().map(|it| string(it, "legendFormat")).collect();
        // A table query for its labels only has no legend.
        let nameless = legends.contains("") && panel["type"] != "table";
        assert!(legends.len() == targets.len() && !nameless, "{name}: legendFormat");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}");
            let wanted = match string(panel, "type") {
                "table" => "table",
                "heatmap" => "heatmap",
                _ => "time_series",
            };
            assert_eq!(string(target, "format"), wanted, "{name}");
            assert_ne!(target["instant"], target["range"], "{name}");
        }
    }
}

#[test]
fn variables_select_jobs_and_instances() {
    for dashboard in &committed() {
        let variables = list(&dashboard["templating"], "list");
        let names: Vec<_> = variables.iter().map(|it| string(it, "name")).collect();
        assert_eq!(names[..3], ["datasource", "job", "instance"]);
        assert_eq!((string(&variables[0], "type"), string(&variables[0], "query")), ("datasource", "prometheus"));
        // The choice between causes and families selects no labels.
        for variable in variables[1..].iter().filter(|it| it["name"] != "fold") {
            let name = string(variable, "name");
            assert!(variable["multi"] == true && variable["includeAll"] == true, "{name}");
            assert_eq!(variable["allValue"], ".*", "{name}: All must include empty values");
            if variable["type"] == "query" {
                let query = string(&variable["query"], "query");
                assert!(
                    query.starts_with("label_values(rstwatch_") && query.ends_with(&format!(", {name})")),
                    "{query}"
                );
            }
        }
    }
    let resets = &committed()[0];
    let names: Vec<_> = list(&resets["templating"], "list").iter().map(|it| string(it, "name")).collect();
    assert!(names.contains(&"namespace") && names.contains(&"workload"));
}

/// Each metric name in an expression, with the text before and after it.
fn metrics(expr: &str) -> Vec<(&str, &str, &str)> {
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let found = expr.match_indices("rstwatch_").map(|(at, _)| expr.split_at(at));
    found
        .map(|(before, rest)| {
            let (name, after) = rest.split_at(rest.find(|it| !is_name(it)).unwrap_or(rest.len()));
            (before, name, after)
        })
        .collect()
}

#[test]
fn every_selector_is_filtered() {
    let dashboards = committed();
    for (name, expr) in expressions(&dashboards) {
        for (_, metric, after) in metrics(expr) {
            assert!(after.starts_with(&format!("{{{SELECTED}")), "{name}: {metric} is not filtered in {expr}");
        }
        assert!(!expr.contains('@'), "{name}: {expr}");
        let constant = expr.starts_with("vector(") || expr.contains(&format!("scrape_duration_seconds{{{SELECTED}}}"));
        assert!(constant || !metrics(expr).is_empty(), "{name}: {expr}");
    }
}

#[test]
fn causes_and_senders_have_their_colours() {
    let dashboards = committed();
    for (name, panel) in panels_with_queries(&dashboards) {
        let overrides = panel["fieldConfig"]["overrides"].to_string();
        for (label, words) in [("cause", causes()), ("sender", SENDERS.to_vec())] {
            let shows = |target: &Value| match string(panel, "type") {
                "table" => [", ", ")"].iter().any(|end| string(target, "expr").contains(&format!(" {label}{end}"))),
                _ => string(target, "legendFormat").contains(&format!("{{{{{label}}}}}")),
            };
            let coloured = |(word, colour): &Word| overrides.contains(word) && overrides.contains(colour);
            let shown = list(panel, "targets").iter().any(shows);
            assert!(!shown || words.iter().all(coloured), "{name}: a {label} has no colour");
        }
    }
}

#[test]
fn counters_are_read_as_rates() {
    let dashboards = committed();
    for (name, expr) in expressions(&dashboards) {
        for (before, metric, after) in metrics(expr) {
            let counts = metric.ends_with("_total") || metric.ends_with("_bucket");
            let ranged = before.ends_with("rate(") || before.ends_with("increase(");
            assert_eq!(counts, ranged, "{name}: {metric} in {expr}");
            let window = after.split_once('}').map(|(_, rest)| rest).unwrap_or_default();
            let fits = window.starts_with("[$__rate_interval]") || window.starts_with("[$__range]");
            assert_eq!(counts, fits, "{name}: {metric} in {expr}");
        }
    }
}

#[test]
fn references_exist() {
    let uids = [RESETS, IDLE, CAPACITY];
    for (dashboard, (name, _)) in committed().iter().zip(all().unwrap()) {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let variables: Vec<_> = list(&dashboard["templating"], "list").iter().map(|it| string(it, "name")).collect();
        // The end of a regular expression, not a variable.
        let text = text.replace("$/\"", "").replace("$\"", "");
        for after in text.split('$').skip(1) {
            let after = after.trim_start_matches('{');
            let end = after.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(after.len());
            let variable = &after[..end];
            assert!(BUILT_IN.contains(&variable) || variables.contains(&variable), "{name}: ${variable}");
        }
        for link in text.split("\"/d/").skip(1) {
            let uid = link.split('?').next().unwrap();
            assert!(uids.contains(&uid), "{name}: no dashboard {uid}");
        }
    }
}

fn queries() -> Vec<PanelQuery> {
    all().unwrap().iter().flat_map(|(name, it)| panel_queries(name, &it.json())).collect()
}

#[test]
fn all_variables_are_substituted() {
    let variables = Variables { instance: ".*", cause: ".*", fold: "received", since: UNIX_EPOCH };
    for query in queries() {
        assert!(!variables.substitute(&query.expr, 60).contains('$'), "{}", query.expr);
    }
}

#[test]
fn panels_that_may_be_empty_exist() {
    let queries = queries();
    for (title, _, reason) in MAY_BE_EMPTY {
        assert!(queries.iter().any(|it| it.title == title) && !reason.is_empty(), "{title}");
    }
}
