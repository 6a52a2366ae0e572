//! Overrides of fields: properties of the series or columns that a matcher selects.

use serde_json::{Value, json};

/// Sets properties of the field with this name.
pub(super) fn by_name(name: &str, properties: &[Value]) -> Value {
    json!({ "matcher": { "id": "byName", "options": name }, "properties": properties })
}

/// Sets properties of each field whose name is this word or ends with it.
pub(super) fn by_last_word(word: &str, properties: &[Value]) -> Value {
    json!({ "matcher": { "id": "byRegexp", "options": format!("/(^| ){word}$/") }, "properties": properties })
}

/// A property of a field.
pub(super) fn property(id: &str, value: &Value) -> Value {
    json!({ "id": id, "value": value })
}

/// The property of a fixed colour.
pub(super) fn fixed(colour: &str) -> Value {
    property("color", &json!({ "mode": "fixed", "fixedColor": colour }))
}
