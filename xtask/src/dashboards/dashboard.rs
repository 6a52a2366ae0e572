//! A dashboard: its variables, and its panels laid out on the grid.

use serde_json::{Value, json};

use super::panel::{GRID, Kind, Panel, datasource};
use super::query::expand;

/// Schema of Grafana 10.4; newer versions migrate it on load.
const SCHEMA: u32 = 39;

/// A dashboard.
pub(super) struct Dashboard {
    /// Part of links, so it must not change.
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) variables: Vec<Value>,
    pub(super) panels: Vec<Panel>,
}

impl Dashboard {
    /// The JSON that Grafana imports.
    pub(super) fn json(&self) -> Value {
        let mut variables = vec![
            json!({ "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                "refresh": 1, "regex": "", "hide": 0, "multi": false, "includeAll": false, "current": {} }),
            label_choice("job", "Job", "label_values(rstwatch_build_info, job)"),
            label_choice("instance", "Node", r#"label_values(rstwatch_build_info{job=~"$job"}, instance)"#),
        ];
        variables.extend(self.variables.iter().cloned());
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
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
            "panels": layout(&self.panels),
        })
    }
}

/// A variable for selecting values of a label.
pub(super) fn label_choice(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "definition": query, "query": { "qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
        "refresh": 2, "sort": 1, "regex": "", "hide": 0, "multi": true, "includeAll": true, "allValue": ".*",
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
    })
}

/// The same for a label of a metric in the short notation of [`expand`].
pub(super) fn metric_label_choice(name: &str, label: &str, metric: &str) -> Value {
    label_choice(name, label, &format!("label_values({}, {name})", expand(metric)))
}

/// A variable for selecting from fixed values. `selected` is the default; none means all.
pub(super) fn fixed_choice(name: &str, label: &str, values: &[&str], selected: &[&str]) -> Value {
    let option = |value: &&str| json!({ "selected": selected.contains(value), "text": value, "value": value });
    let current = if selected.is_empty() {
        json!({ "text": ["All"], "value": ["$__all"] })
    } else {
        json!({ "text": selected, "value": selected })
    };
    json!({
        "name": name, "label": label, "type": "custom", "query": values.join(","), "hide": 0, "multi": true,
        "includeAll": true, "allValue": ".*", "current": current, "options": values.iter().map(option).collect::<Vec<_>>(),
    })
}

/// A variable for selecting the direction of resets.
pub(super) fn direction_choice() -> Value {
    fixed_choice("direction", "Direction", &["sent", "received"], &[])
}

/// Places panels from left to right, then in the next line. A row header starts a new line.
fn layout(panels: &[Panel]) -> Vec<Value> {
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
