//! The committed files, as Grafana would meet them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::query::WHOSE;
use super::{CAPACITY, IDLE, RESETS, all, file, text};

const UNITS: [&str; 5] = ["cps", "short", "s", "bytes", "percentunit"];
/// Of Grafana itself.
const BUILT_IN: [&str; 5] = ["__rate_interval", "__range", "__all", "__data", "__url_time_range"];

fn committed() -> Vec<Value> {
    let read = |name| serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap();
    all().unwrap().iter().map(|(name, _)| read(*name)).collect()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Each panel that asks something, with a name for messages.
fn asking(dashboards: &[Value]) -> Vec<(String, &Value)> {
    let panels = dashboards.iter().flat_map(|dashboard| {
        let name = |panel| format!("{} / {}", word(dashboard, "uid"), word(panel, "title"));
        list(dashboard, "panels").iter().map(move |panel| (name(panel), panel))
    });
    panels.filter(|(_, panel)| !["row", "text"].contains(&word(panel, "type"))).collect()
}

fn expressions(dashboards: &[Value]) -> Vec<(String, &str)> {
    let of =
        |(name, panel)| list(panel, "targets").iter().map(move |target| (String::clone(&name), word(target, "expr")));
    asking(dashboards).into_iter().flat_map(of).collect()
}

#[test]
fn the_committed_files_are_the_generated_ones() {
    for (name, dashboard) in all().unwrap() {
        let committed = std::fs::read_to_string(file(name)).unwrap();
        assert_eq!(committed, text(&dashboard), "{name}.json: run `cargo xtask dashboards`");
    }
}

#[test]
fn dashboards_are_named_once_and_for_all() {
    let dashboards = committed();
    let uids: Vec<_> = dashboards.iter().map(|it| word(it, "uid")).collect();
    assert_eq!(uids, [RESETS, IDLE, CAPACITY]);
    assert!(uids.iter().all(|uid| uid.len() <= 40));
    let titles: BTreeSet<_> = dashboards.iter().map(|it| word(it, "title")).collect();
    assert_eq!(titles.len(), dashboards.len());
    for dashboard in &dashboards {
        assert_eq!(dashboard["schemaVersion"], 39);
        assert!(dashboard["id"].is_null(), "an id belongs to one Grafana");
        assert!(list(dashboard, "tags").contains(&"rstwatch".into()));
        assert!(dashboard["time"]["from"].is_string() && dashboard["refresh"].is_string());
    }
}

#[test]
fn panels_have_ids_and_places_of_their_own() {
    for dashboard in &committed() {
        let panels = list(dashboard, "panels");
        let ids: BTreeSet<_> = panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
        let mut taken = BTreeSet::new();
        for panel in panels {
            let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(side("w") > 0 && side("h") > 0 && side("x") + side("w") <= 24, "{}", word(panel, "title"));
            for x in side("x")..side("x") + side("w") {
                for y in side("y")..side("y") + side("h") {
                    assert!(taken.insert((x, y)), "{} lies on another panel", word(panel, "title"));
                }
            }
        }
    }
}

#[test]
fn panels_say_what_they_show() {
    let dashboards = committed();
    for (name, panel) in asking(&dashboards) {
        assert!(word(panel, "description").len() > 20, "{name}: no description");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
        let unit = word(&panel["fieldConfig"]["defaults"], "unit");
        assert!(UNITS.contains(&unit), "{name}: unit {unit:?}");
        let steps = list(&panel["fieldConfig"]["defaults"]["thresholds"], "steps");
        assert!(steps.first().is_some_and(|first| first["value"].is_null()), "{name}: thresholds have no base");
    }
}

#[test]
fn targets_are_told_apart() {
    let dashboards = committed();
    for (name, panel) in asking(&dashboards) {
        let targets = list(panel, "targets");
        let ids: BTreeSet<_> = targets.iter().map(|it| word(it, "refId")).collect();
        assert!(!targets.is_empty() && ids.len() == targets.len(), "{name}: refId");
        let legends: BTreeSet<_> = targets.iter().map(|it| word(it, "legendFormat")).collect();
        // A column of which only the labels matter has no name.
        let nameless = legends.contains("") && panel["type"] != "table";
        assert!(legends.len() == targets.len() && !nameless, "{name}: legendFormat");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}");
            let wanted = match word(panel, "type") {
                "table" => "table",
                "heatmap" => "heatmap",
                _ => "time_series",
            };
            assert_eq!(word(target, "format"), wanted, "{name}");
            assert_ne!(target["instant"], target["range"], "{name}");
        }
    }
}

#[test]
fn variables_choose_whose_series_are_read() {
    for dashboard in &committed() {
        let variables = list(&dashboard["templating"], "list");
        let names: Vec<_> = variables.iter().map(|it| word(it, "name")).collect();
        assert_eq!(names[..3], ["datasource", "job", "instance"]);
        assert_eq!((word(&variables[0], "type"), word(&variables[0], "query")), ("datasource", "prometheus"));
        for variable in &variables[1..] {
            let name = word(variable, "name");
            assert!(variable["multi"] == true && variable["includeAll"] == true, "{name}");
            assert_eq!(variable["allValue"], ".*", "{name}: a value that is empty counts too");
            if variable["type"] == "query" {
                let query = word(&variable["query"], "query");
                assert!(
                    query.starts_with("label_values(rstwatch_") && query.ends_with(&format!(", {name})")),
                    "{query}"
                );
            }
        }
    }
    let resets = &committed()[0];
    let names: Vec<_> = list(&resets["templating"], "list").iter().map(|it| word(it, "name")).collect();
    assert!(names.contains(&"namespace") && names.contains(&"workload"));
}

/// Where a metric's name begins, with what stands before and behind it.
fn metrics(expr: &str) -> Vec<(&str, &str, &str)> {
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let found = expr.match_indices("rstwatch_").map(|(at, _)| expr.split_at(at));
    found
        .map(|(before, rest)| {
            let (name, behind) = rest.split_at(rest.find(|it| !is_name(it)).unwrap_or(rest.len()));
            (before, name, behind)
        })
        .collect()
}

#[test]
fn every_selector_is_filtered() {
    let dashboards = committed();
    for (name, expr) in expressions(&dashboards) {
        for (_, metric, behind) in metrics(expr) {
            assert!(behind.starts_with(&format!("{{{WHOSE}")), "{name}: {metric} is not filtered in {expr}");
        }
        assert!(!expr.contains('@'), "{name}: {expr}");
        let constant = expr.starts_with("vector(") || expr.contains(&format!("scrape_duration_seconds{{{WHOSE}}}"));
        assert!(constant || !metrics(expr).is_empty(), "{name}: {expr}");
    }
}

#[test]
fn counters_are_read_as_rates() {
    let dashboards = committed();
    for (name, expr) in expressions(&dashboards) {
        for (before, metric, behind) in metrics(expr) {
            let counts = metric.ends_with("_total") || metric.ends_with("_bucket");
            let ranged = before.ends_with("rate(") || before.ends_with("increase(");
            assert_eq!(counts, ranged, "{name}: {metric} in {expr}");
            let window = behind.split_once('}').map(|(_, rest)| rest).unwrap_or_default();
            let fits = window.starts_with("[$__rate_interval]") || window.starts_with("[$__range]");
            assert_eq!(counts, fits, "{name}: {metric} in {expr}");
        }
    }
}

#[test]
fn nothing_refers_to_what_is_not_there() {
    let uids = [RESETS, IDLE, CAPACITY];
    for (dashboard, (name, _)) in committed().iter().zip(all().unwrap()) {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let variables: Vec<_> = list(&dashboard["templating"], "list").iter().map(|it| word(it, "name")).collect();
        // The end of a regular expression, and no variable.
        let text = text.replace("$/\"", "").replace("$\"", "");
        for behind in text.split('$').skip(1) {
            let behind = behind.trim_start_matches('{');
            let end = behind.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(behind.len());
            let variable = &behind[..end];
            assert!(BUILT_IN.contains(&variable) || variables.contains(&variable), "{name}: ${variable}");
        }
        for link in text.split("\"/d/").skip(1) {
            let uid = link.split('?').next().unwrap();
            assert!(uids.contains(&uid), "{name}: no dashboard {uid}");
        }
    }
}
