//! Columns of tables: several instant queries side by side, with links that lead on.

use serde_json::{Value, json};

use super::panel::{Kind, Panel, Unit, panel, set};
use super::query::query;

/// A table whose columns are built one after another. The first column's query chooses the rows, and their number is
/// bounded by it: a fleet has more series than a browser can show.
pub(super) struct Columns {
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
    short: String,
}

/// A table with a row for each value of these labels.
pub(super) fn columns(title: &str, about: &str, by: &'static str) -> Columns {
    let panel = panel(Kind::Table, title, about, Unit::Count);
    Columns { panel, by, names: json!({}), hidden: json!({ "Time": true }), count: 0, first: None, descending: true }
}

impl Columns {
    /// A column of values; the first one orders the rows, largest above.
    pub(super) fn value(mut self, name: &str, unit: Unit, short: &str) -> Self {
        let column = self.add(name, short);
        set(&mut self.names, &column, json!(name));
        self.panel.overrides.push(of(name, &json!([{ "id": "unit", "value": unit.name() }])));
        self
    }

    /// A column of which only the labels matter.
    pub(super) fn labels(mut self, short: &str) -> Self {
        let column = self.add("", short);
        set(&mut self.hidden, &column, json!(true));
        self
    }

    /// Grafana's name of the new column.
    fn add(&mut self, name: &str, short: &str) -> String {
        let bounded = match &self.first {
            Some(first) => format!("{short} and on ({}) {}", self.by, first.short),
            None => short.to_owned(),
        };
        self.first.get_or_insert_with(|| First { name: name.to_owned(), short: short.to_owned() });
        self.panel.targets.push(query(&bounded, name));
        let letter = char::from(b'A' + self.count);
        self.count += 1;
        format!("Value #{letter}")
    }

    /// Smallest above.
    pub(super) fn ascending(mut self) -> Self {
        self.descending = false;
        self
    }

    /// The last column of values as a bar in its cell.
    pub(super) fn bar(mut self) -> Self {
        if let Some(properties) = self.panel.overrides.last_mut().and_then(|last| last["properties"].as_array_mut()) {
            let gauge = json!({ "type": "gauge", "mode": "basic", "valueDisplayMode": "text" });
            properties.push(json!({ "id": "custom.cellOptions", "value": gauge }));
        }
        self
    }

    /// A click on this column's cell leads to a dashboard, narrowed by labels of its row. Those labels must not be empty in
    /// all rows: Prometheus then has no such column.
    pub(super) fn link(mut self, column: &str, title: &str, uid: &str, narrowed: &[&str]) -> Self {
        let link = json!([{ "title": title, "url": url(uid, narrowed) }]);
        self.panel.overrides.push(of(column, &json!([{ "id": "links", "value": link }])));
        self
    }

    /// A property of one column.
    pub(super) fn property(mut self, column: &str, id: &str, value: &Value) -> Self {
        self.panel.overrides.push(of(column, &json!([{ "id": id, "value": value }])));
        self
    }

    pub(super) fn done(mut self) -> Panel {
        let organize = json!({ "excludeByName": self.hidden, "indexByName": {}, "renameByName": self.names });
        self.panel.transformations =
            vec![json!({ "id": "merge", "options": {} }), json!({ "id": "organize", "options": organize })];
        let order = self.first.map(|first| json!([{ "displayName": first.name, "desc": self.descending }]));
        self.panel.option("sortBy", order.unwrap_or_else(|| json!([])))
    }
}

fn of(column: &str, properties: &Value) -> Value {
    json!({ "matcher": { "id": "byName", "options": column }, "properties": properties })
}

/// What is chosen here stays chosen there, but for what the row says better.
pub(super) fn url(uid: &str, narrowed: &[&str]) -> String {
    let mut url = format!("/d/{uid}?${{datasource:queryparam}}&${{job:queryparam}}");
    if !narrowed.contains(&"instance") {
        url += "&${instance:queryparam}";
    }
    for label in narrowed {
        url += &format!("&var-{label}=${{__data.fields.{label}}}");
    }
    url + "&${__url_time_range}"
}
