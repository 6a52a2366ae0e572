//! Table panels: one instant query per column, with links to other dashboards.

use serde_json::{Map, Value, json};

use super::links::url;
use super::overrides::{by_name, property};
use super::palette::Word;
use super::panel::{Kind, Panel, Unit, panel, set};
use super::query::query;

/// Builder of a table. The first column's query selects the rows and bounds their number, because a fleet has more series than
/// a browser can show.
pub(super) struct Table {
    panel: Panel,
    by: &'static str,
    names: Value,
    hidden: Value,
    count: u8,
    first: Option<First>,
    descending: bool,
}

struct First {
    name: String,
    promql: String,
}

/// A table with a row for each combination of these labels.
pub(super) fn table(title: &str, description: &str, by: &'static str) -> Table {
    let panel = panel(Kind::Table, title, description, Unit::Count);
    Table { panel, by, names: json!({}), hidden: json!({ "Time": true }), count: 0, first: None, descending: true }
}

impl Table {
    /// Adds a column of values. The first one sorts the rows, in descending order by default.
    pub(super) fn value(mut self, name: &str, unit: Unit, promql: &str) -> Self {
        let column = self.add(name, promql);
        set(&mut self.names, &column, json!(name));
        self.property(name, "unit", &json!(unit.name()))
    }

    /// Adds a query for its labels only; its values are hidden.
    pub(super) fn labels(mut self, promql: &str) -> Self {
        let column = self.add("", promql);
        set(&mut self.hidden, &column, json!(true));
        self
    }

    /// Adds a query and returns Grafana's name of its column.
    fn add(&mut self, name: &str, promql: &str) -> String {
        let bounded = match &self.first {
            Some(first) => format!("{promql} and on ({}) {}", self.by, first.promql),
            None => promql.to_owned(),
        };
        self.first.get_or_insert_with(|| First { name: name.to_owned(), promql: promql.to_owned() });
        self.panel.targets.push(query(&bounded, name));
        let letter = char::from(b'A' + self.count);
        self.count += 1;
        format!("Value #{letter}")
    }

    /// Sorts the rows in ascending order.
    pub(super) fn ascending(mut self) -> Self {
        self.descending = false;
        self
    }

    /// Shows the last value column as bars.
    pub(super) fn bar(mut self) -> Self {
        if let Some(properties) = self.panel.overrides.last_mut().and_then(|last| last["properties"].as_array_mut()) {
            let gauge = json!({ "type": "gauge", "mode": "basic", "valueDisplayMode": "text" });
            properties.push(property("custom.cellOptions", &gauge));
        }
        self
    }

    /// Links the cells of a column to a dashboard, filtered by labels of the row. At least one row must have a value for each
    /// of these labels; otherwise Prometheus returns no such column.
    pub(super) fn link(self, column: &str, title: &str, uid: &str, filters: &[&str]) -> Self {
        self.property(column, "links", &json!([{ "title": title, "url": url(uid, filters) }]))
    }

    /// Assigns colours to these words in a column.
    pub(super) fn coloured(mut self, column: &str, words: &[Word]) -> Self {
        let colours: Map<_, _> =
            words.iter().map(|(word, colour)| ((*word).to_owned(), json!({ "color": colour }))).collect();
        let mappings = property("mappings", &json!([{ "type": "value", "options": colours }]));
        let cell = property("custom.cellOptions", &json!({ "type": "color-text" }));
        self.panel.overrides.push(by_name(column, &[mappings, cell]));
        self
    }

    /// Sets a property of a column.
    pub(super) fn property(mut self, column: &str, id: &str, value: &Value) -> Self {
        self.panel.overrides.push(by_name(column, &[property(id, value)]));
        self
    }

    /// The finished panel.
    pub(super) fn build(mut self) -> Panel {
        let organize = json!({ "excludeByName": self.hidden, "indexByName": {}, "renameByName": self.names });
        self.panel.transformations =
            vec![json!({ "id": "merge", "options": {} }), json!({ "id": "organize", "options": organize })];
        let order = self.first.map(|first| json!([{ "displayName": first.name, "desc": self.descending }]));
        self.panel.option("sortBy", order.unwrap_or_else(|| json!([])))
    }
}
