//! A dashboard: panels in their places, and the variables that choose what they show.

use serde_json::{Value, json};

use super::panel::{GRID, Kind, Panel, datasource};
use super::query::expand;

/// Of Grafana 10.4; newer ones migrate it when they load it.
const SCHEMA: u32 = 39;

/// A dashboard of ours.
pub(super) struct Dashboard {
    /// Part of links: it never changes.
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) variables: Vec<Value>,
    pub(super) panels: Vec<Panel>,
}

impl Dashboard {
    /// The file that Grafana imports.
    pub(super) fn json(&self) -> Value {
        let mut variables = vec![
            json!({ "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                "refresh": 1, "regex": "", "hide": 0, "multi": false, "includeAll": false, "current": {} }),
            choice("job", "Job", "label_values(rstwatch_build_info, job)"),
            choice("instance", "Node", r#"label_values(rstwatch_build_info{job=~"$job"}, instance)"#),
        ];
        variables.extend(self.variables.iter().cloned());
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["rstwatch", "tcp"],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "time": { "from": "now-6h", "to": "now" },
            "timepicker": {},
            "timezone": "",
            "refresh": "1m",
            "annotations": { "list": [] },
            "links": [{
                "title": "rstwatch", "type": "dashboards", "tags": ["rstwatch"], "asDropdown": false,
                "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "",
                "url": "",
            }],
            "templating": { "list": variables },
            "panels": placed(&self.panels),
        })
    }
}

/// A variable that takes any number of a label's values.
pub(super) fn choice(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "definition": query, "query": { "qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
        "refresh": 2, "sort": 1, "regex": "", "hide": 0, "multi": true, "includeAll": true, "allValue": ".*",
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
    })
}

/// One that takes a label's values of a metric in short: see [`expand`].
pub(super) fn of_metric(name: &str, label: &str, short: &str) -> Value {
    choice(name, label, &format!("label_values({}, {name})", expand(short)))
}

/// One that takes any number of fixed words.
pub(super) fn words(name: &str, label: &str, all: &[&str], chosen: &[&str]) -> Value {
    let option = |word: &&str| json!({ "selected": chosen.contains(word), "text": word, "value": word });
    let current = if chosen.is_empty() {
        json!({ "text": ["All"], "value": ["$__all"] })
    } else {
        json!({ "text": chosen, "value": chosen })
    };
    json!({
        "name": name, "label": label, "type": "custom", "query": all.join(","), "hide": 0, "multi": true,
        "includeAll": true, "allValue": ".*", "current": current, "options": all.iter().map(option).collect::<Vec<_>>(),
    })
}

/// From left to right, then below; a row's header begins anew.
fn placed(panels: &[Panel]) -> Vec<Value> {
    let (mut x, mut y, mut tallest) = (0, 0, 0);
    let mut place = |(panel, id): (&Panel, u32)| {
        if x + panel.width > GRID || panel.kind == Kind::Row {
            (x, y, tallest) = (0, y + tallest, 0);
        }
        let json = panel.json(id, x, y);
        x += panel.width;
        tallest = tallest.max(panel.height);
        json
    };
    panels.iter().zip(1..).map(&mut place).collect()
}
