//! Runs the queries of a dashboard's panels on a Prometheus server, with values for the dashboard's variables.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use dev_support::prometheus::Prometheus;
use serde_json::Value;

/// A query of a panel, and its last result with data.
pub(super) struct PanelQuery {
    pub(super) dashboard: &'static str,
    /// The panel's title.
    pub(super) title: String,
    /// The panel's ID.
    pub(super) panel: u64,
    /// The target's `refId`.
    pub(super) target: String,
    pub(super) expr: String,
    instant: bool,
    /// Series as Prometheus returned them; empty if none had data.
    pub(super) result: Vec<Value>,
}

/// Values of the dashboard's variables. Variables without a field select everything.
#[derive(Clone, Copy)]
pub(super) struct Variables {
    pub(super) instance: &'static str,
    pub(super) cause: &'static str,
    pub(super) fold: &'static str,
    /// Start of the dashboard's time range, which ends now.
    pub(super) since: SystemTime,
}

/// Every query of a dashboard, from its JSON.
pub(super) fn panel_queries(dashboard: &'static str, json: &Value) -> Vec<PanelQuery> {
    let array = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let string = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let mut queries = Vec::new();
    for panel in array(json, "panels") {
        for target in array(&panel, "targets") {
            queries.push(PanelQuery {
                dashboard,
                title: string(&panel, "title"),
                panel: panel["id"].as_u64().unwrap_or_default(),
                target: string(&target, "refId"),
                expr: string(&target, "expr"),
                instant: target["instant"] == true,
                result: Vec::new(),
            });
        }
    }
    queries
}

impl PanelQuery {
    /// Runs the query, and keeps its result if any series has data.
    pub(super) fn run(&mut self, prometheus: &Prometheus, variables: Variables) -> Result<()> {
        let (from, to) = (seconds(variables.since), seconds(SystemTime::now()));
        let range = (!self.instant).then_some((from, to));
        let result = prometheus.ask(&variables.substitute(&self.expr, to - from), range)?;
        if result.iter().any(has_data) {
            self.result = result;
        }
        Ok(())
    }
}

impl Variables {
    /// Replaces the dashboard's variables in a query.
    pub(super) fn substitute(self, expr: &str, range: u64) -> String {
        let range = format!("{}s", range.max(10));
        let mut expr = expr.replace("$__rate_interval", "15s").replace("$__range", &range);
        expr = expr.replace("$instance", self.instance).replace("$cause", self.cause).replace("$fold", self.fold);
        for variable in ["$job", "$direction", "$namespace", "$workload"] {
            expr = expr.replace(variable, ".*");
        }
        expr
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether a series has a finite value.
fn has_data(series: &Value) -> bool {
    let is_finite =
        |sample: &Value| sample[1].as_str().and_then(|value| value.parse::<f64>().ok()).is_some_and(f64::is_finite);
    is_finite(&series["value"]) || series["values"].as_array().is_some_and(|all| all.iter().any(is_finite))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_finite_values_are_data() {
        assert!(has_data(&json!({ "value": [1, "0"] })));
        assert!(has_data(&json!({ "values": [[1, "NaN"], [2, "0.5"]] })));
        assert!(!has_data(&json!({ "value": [1, "+Inf"] })));
        assert!(!has_data(&json!({ "values": [] })));
    }
}
