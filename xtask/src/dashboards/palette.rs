//! Colours of series: each cause and each sender has one colour in every panel. Related causes have similar colours.

use rstwatch_verdict::cause::{Cause, TABLE};
use serde_json::{Value, json};

/// Senders with their colours.
pub(super) const SENDERS: [(&str, &str); 6] = [
    ("local_app", "#E02F44"),
    ("local_kernel", "#3274D9"),
    ("local_firewall", "#A352CC"),
    ("peer", "#FF9830"),
    ("middlebox", "#E02FBF"),
    ("unknown", "#B8BEC7"),
];

/// Every cause, in the order of `rstwatch explain`.
pub(super) fn causes() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|entry| entry.cause.as_str())
}

/// The colour of a cause in every panel.
pub(super) fn colour(cause: &str) -> Option<&'static str> {
    cause.parse::<Cause>().ok().map(|cause| cause.entry().colour.grafana)
}

/// Overrides that colour each series whose name is a cause or ends with one.
pub(super) fn cause_overrides() -> Vec<Value> {
    let by_name = |cause: &str, colour| {
        json!({
            "matcher": { "id": "byRegexp", "options": format!("/(^| ){cause}$/") },
            "properties": [fixed(colour)],
        })
    };
    causes().filter_map(|cause| colour(cause).map(|colour| by_name(cause, colour))).collect()
}

/// The property of a fixed colour.
pub(super) fn fixed(colour: &str) -> Value {
    json!({ "id": "color", "value": { "mode": "fixed", "fixedColor": colour } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_has_its_own_colour() {
        let colours: BTreeSet<_> = causes().map(|cause| colour(cause).unwrap()).collect();
        assert_eq!(colours.len(), causes().count());
    }
}
