//! Reads the rules and their test cases from YAML.

use anyhow::{Context as _, Result};
use saphyr::{LoadableYamlNode as _, Yaml};

/// An alert. Missing fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) expr: String,
    pub(super) pending: String,
    pub(super) severity: String,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) runbook_url: String,
}

/// What a test expects of an alert at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) alert: String,
    /// Whether the alert must fire; otherwise it must not.
    pub(super) fires: bool,
}

/// The alerts of a rules file.
pub(super) fn alerts(text: &str) -> Result<Vec<Alert>> {
    let document = load(text)?;
    let rules = list(&document, "groups").iter().flat_map(|group| list(group, "rules"));
    Ok(rules.filter(|rule| rule.contains_mapping_key("alert")).map(alert).collect())
}

fn alert(rule: &Yaml<'_>) -> Alert {
    let of = |part: &str, key: &str| rule.as_mapping_get(part).map(|part| word(part, key)).unwrap_or_default();
    Alert {
        name: word(rule, "alert"),
        expr: word(rule, "expr"),
        pending: word(rule, "for"),
        severity: of("labels", "severity"),
        summary: of("annotations", "summary"),
        description: of("annotations", "description"),
        runbook_url: of("annotations", "runbook_url"),
    }
}

/// The cases in a test file. Cases without `exp_alerts` assert nothing and are left out.
pub(super) fn cases(text: &str) -> Result<Vec<Case>> {
    let document = load(text)?;
    let tests = list(&document, "tests").iter().flat_map(|test| list(test, "alert_rule_test"));
    let asserting = tests.filter(|case| case.contains_mapping_key("exp_alerts"));
    Ok(asserting
        .map(|case| Case { alert: word(case, "alertname"), fires: !list(case, "exp_alerts").is_empty() })
        .collect())
}

fn load(text: &str) -> Result<Yaml<'_>> {
    let documents = Yaml::load_from_str(text).context("not YAML")?;
    documents.into_iter().next().context("an empty file")
}

fn list<'a, 'text>(node: &'a Yaml<'text>, key: &str) -> &'a [Yaml<'text>] {
    node.as_mapping_get(key).and_then(Yaml::as_sequence).map_or(&[], Vec::as_slice)
}

fn word(node: &Yaml<'_>, key: &str) -> String {
    node.as_mapping_get(key).and_then(Yaml::as_str).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_alerts_but_not_recording_rules() {
        let text = "groups: [{name: g, rules: [{record: r, expr: up}, {alert: A, expr: up == 0, for: 5m, \
                    labels: {severity: warning}, annotations: {summary: s}}]}]";
        let read = alerts(text).expect("YAML");
        let [alert] = &read[..] else { panic!("{read:?}") };
        assert_eq!((&*alert.name, &*alert.expr, &*alert.pending), ("A", "up == 0", "5m"));
        assert_eq!((&*alert.severity, &*alert.summary, &*alert.runbook_url), ("warning", "s", ""));
    }

    #[test]
    fn reads_only_cases_with_an_expectation() {
        let text = "tests: [{alert_rule_test: [{alertname: A, exp_alerts: []}, {alertname: A}, \
                    {alertname: A, exp_alerts: [{exp_labels: {}}]}]}]";
        let fires: Vec<_> = cases(text).expect("YAML").iter().map(|case| case.fires).collect();
        assert_eq!(fires, [false, true]);
    }
}
