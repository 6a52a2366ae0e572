//! Colours of series: each cause and each sender has one colour in every panel. Related causes have similar colours.

use serde_json::{Value, json};

/// Every cause with its colour, in the order of `rstwatch explain`. Only this module reads it.
const CAUSES: [(&str, &str); 20] = [
    ("refused", "#7E8794"),
    // Idle connections and devices on the path: oranges and pink.
    ("idle_reaped", "#FF9830"),
    ("middlebox_idle", "#E0570B"),
    ("middlebox_injected", "#E02FBF"),
    // The application: reds.
    ("process_died", "#E02F44"),
    ("listener_closed", "#8F1C2C"),
    ("unread_data", "#FF7383"),
    ("data_after_close", "#FFB3B8"),
    // Intentional: blues and purple.
    ("linger_abort", "#8AB8FF"),
    ("admin_abort", "#3274D9"),
    ("firewall_reject", "#A352CC"),
    // Limits: yellows.
    ("listen_overflow", "#FADE2A"),
    ("conntrack_full", "#CFA100"),
    // Unreachable or restarted peers: greens.
    ("keepalive_timeout", "#37872D"),
    ("no_such_connection", "#73BF69"),
    ("resource_limit", "#FFF899"),
    ("invalid_handshake", "#C0D8FF"),
    ("mptcp", "#5AD8E6"),
    ("unknown", "#B8BEC7"),
    ("unsampled", "#565C66"),
];

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
    CAUSES.iter().map(|(cause, _)| *cause)
}

/// The colour of a cause in every panel.
pub(super) fn colour(cause: &str) -> Option<&'static str> {
    CAUSES.iter().find(|(name, _)| *name == cause).map(|(_, colour)| *colour)
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

    /// The causes that the daemon's source declares.
    fn declared() -> Vec<&'static str> {
        let source = include_str!("../../../rstwatch/src/cause.rs");
        let causes = source.split("Cause {").nth(1).and_then(|rest| rest.split("\n    }").next()).unwrap();
        causes.lines().filter_map(|line| line.split_once(" = \"")?.1.split('"').next()).collect()
    }

    #[test]
    fn every_cause_has_its_own_colour() {
        assert_eq!(causes().collect::<Vec<_>>(), declared());
        let colours: BTreeSet<_> = causes().map(|cause| colour(cause).unwrap()).collect();
        assert_eq!(colours.len(), causes().count());
    }
}
