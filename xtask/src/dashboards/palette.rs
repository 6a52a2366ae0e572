//! One colour for each cause, the same in every panel: kin have kindred colours.

use serde_json::{Value, json};

/// Causes in the order of `rstwatch explain`.
pub(super) const CAUSES: [(&str, &str); 20] = [
    ("refused", "#7E8794"),
    // Silence: oranges.
    ("idle_reaped", "#FF9830"),
    ("middlebox_idle", "#E0570B"),
    ("middlebox_injected", "#E02FBF"),
    // The application's own: reds.
    ("process_died", "#E02F44"),
    ("listener_closed", "#8F1C2C"),
    ("unread_data", "#FF7383"),
    ("data_after_close", "#FFB3B8"),
    // On purpose: blues and purples.
    ("linger_abort", "#8AB8FF"),
    ("admin_abort", "#3274D9"),
    ("firewall_reject", "#A352CC"),
    // Limits: yellows.
    ("listen_overflow", "#FADE2A"),
    ("conntrack_full", "#CFA100"),
    // Peers and paths that went away: greens.
    ("keepalive_timeout", "#37872D"),
    ("no_such_connection", "#73BF69"),
    ("resource_limit", "#FFF899"),
    ("invalid_handshake", "#C0D8FF"),
    ("mptcp", "#5AD8E6"),
    ("unknown", "#B8BEC7"),
    ("unsampled", "#565C66"),
];

/// Who emitted the RST.
pub(super) const SENDERS: [(&str, &str); 6] = [
    ("local_app", "#E02F44"),
    ("local_kernel", "#3274D9"),
    ("local_firewall", "#A352CC"),
    ("peer", "#FF9830"),
    ("middlebox", "#E02FBF"),
    ("unknown", "#B8BEC7"),
];

/// Colours for series that are called by their cause, whatever stands before it.
pub(super) fn by_cause() -> Vec<Value> {
    let colour = |(cause, colour): &(&str, &str)| {
        json!({
            "matcher": { "id": "byRegexp", "options": format!("/(^| ){cause}$/") },
            "properties": [fixed(colour)],
        })
    };
    CAUSES.iter().map(colour).collect()
}

pub(super) fn fixed(colour: &str) -> Value {
    json!({ "id": "color", "value": { "mode": "fixed", "fixedColor": colour } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The daemon's vocabulary, as its source declares it.
    fn declared() -> Vec<&'static str> {
        let source = include_str!("../../../rstwatch-verdict/src/cause/table.rs");
        let causes = source.split("Cause {").nth(1).and_then(|rest| rest.split("\n    }").next()).unwrap();
        causes.lines().filter_map(|line| line.split_once(" = \"")?.1.split('"').next()).collect()
    }

    #[test]
    fn every_cause_has_its_own_colour() {
        let causes: Vec<_> = CAUSES.iter().map(|(cause, _)| *cause).collect();
        assert_eq!(causes, declared());
        let colours: BTreeSet<_> = CAUSES.iter().map(|(_, colour)| *colour).collect();
        assert_eq!(colours.len(), CAUSES.len());
    }
}
