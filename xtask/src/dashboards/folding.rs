//! Folds causes into families, if the viewer selects that: from one end alone, the causes of a family leave the same packet.
//!
//! Only received resets are folded. The end that sent a reset knows its cause, and "the peer" of a family is the other end.

use rstwatch_verdict::cause::Cause;
use serde_json::{Value, json};

/// The choices: name, and the directions whose causes are folded, as a regular expression.
const CHOICES: [(&str, &str); 2] = [("each", "none"), ("received by family", "received")];

/// The variable that selects between causes and families.
pub(super) fn fold_choice() -> Value {
    let options =
        CHOICES.map(|(text, value)| json!({ "selected": value == CHOICES[0].1, "text": text, "value": value }));
    let query: Vec<_> = CHOICES.iter().map(|(text, value)| format!("{text} : {value}")).collect();
    json!({
        "name": "fold", "label": "Causes", "type": "custom", "query": query.join(","), "hide": 0, "multi": false,
        "includeAll": false, "current": options[0], "options": options,
    })
}

/// Sums a query by cause, or by family, and by these other labels.
///
/// `fold` is a scratch label, such as `received/unread_data`: its values stay distinct while causes become equal.
pub(super) fn sum_by_cause(others: &[&str], promql: &str) -> String {
    let kept = [others, &["cause"]].concat().join(", ");
    let mut labels = kept.clone();
    if !others.contains(&"direction") {
        labels = format!("direction, {labels}");
    }
    let keyed = format!(r#"label_join(sum by ({labels}) ({promql}), "fold", "/", "direction", "cause")"#);
    format!("sum by ({kept}) ({})", Cause::FAMILIES.into_iter().fold(keyed, |promql, family| replace(&promql, family)))
}

/// Replaces the causes of one family by the family.
fn replace(promql: &str, family: Cause) -> String {
    let members = Cause::ALL.iter().filter(|cause| **cause != family && cause.family() == family);
    let members = members.map(|cause| cause.as_str()).collect::<Vec<_>>().join("|");
    format!(r#"label_replace({promql}, "cause", "{family}", "fold", "(?:$fold)/(?:{members})")"#)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::process::Command;

    use super::*;
    use dev_support::paths;

    /// Resets by cause.
    type Sums<'a> = &'a [(&'a str, u32)];

    /// Folds resets with promtool, and compares what it returns.
    #[test]
    fn received_causes_fold_into_families() {
        let Some(promtool) = paths::program("promtool") else {
            _ = writeln!(std::io::stderr(), "skipped: promtool not installed");
            return;
        };
        let expr = sum_by_cause(&[], "resets");
        let folded = [
            ("peer_abort", 3),
            ("no_such_connection", 12),
            ("unread_data", 16),
            ("refused", 32),
            ("middlebox_injected", 64),
        ];
        let each = [
            ("unread_data", 17),
            ("peer_abort", 2),
            ("idle_reaped", 4),
            ("no_such_connection", 8),
            ("refused", 32),
            ("middlebox_idle", 64),
        ];
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("fold.yaml");
        fs::write(&file, cases(&[("received", &expr, &folded), ("none", &expr, &each)])).unwrap();
        let output = Command::new(promtool).args(["test", "rules"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The promtool file: resets by direction and cause, and the sums that each choice of the viewer must yield.
    fn cases(choices: &[(&str, &str, Sums<'_>)]) -> String {
        let resets = [
            ("received", "unread_data", 1),
            ("received", "peer_abort", 2),
            ("received", "idle_reaped", 4),
            ("received", "no_such_connection", 8),
            ("sent", "unread_data", 16),
            ("received", "refused", 32),
            ("received", "middlebox_idle", 64),
        ];
        let series = resets.map(|(direction, cause, count)| {
            let name = format!(r#"resets{{direction="{direction}",cause="{cause}"}}"#);
            json!({ "series": name, "values": count.to_string() })
        });
        let tests: Vec<_> = choices
            .iter()
            .map(|(fold, expr, sums)| {
                let sample = |(cause, value): &(&str, u32)| json!({ "labels": format!(r#"{{cause="{cause}"}}"#), "value": value });
                let samples: Vec<_> = sums.iter().map(sample).collect();
                json!({ "expr": expr.replace("$fold", fold), "eval_time": "0m", "exp_samples": samples })
            })
            .collect();
        json!({ "tests": [{ "interval": "1m", "input_series": series, "promql_expr_test": tests }] }).to_string()
    }
}
