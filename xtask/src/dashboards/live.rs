//! Runs every panel's queries on a Prometheus server that scrapes real agents while the lab generates resets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use dev_support::agent::Agent;
use dev_support::prometheus::{Prometheus, free};
use lab::Traffic;
use serde_json::Value;

use super::dashboard::Dashboard;
use super::picture;

/// Rounds of traffic, of about ten seconds each. The first creates the series; rates need the later ones.
const ROUNDS: u32 = 8;
/// How long traffic runs before pictures are drawn: idle timeouts must expire, and graphs need more than a few points.
const PICTURE_DURATION: Duration = Duration::from_secs(200);
/// Name of the agent that observes the whole machine.
const HOST: &str = "host";

/// Whether a panel cannot have data on this machine.
type Condition = fn() -> bool;

/// Panels that may be empty: title, condition, reason.
const MAY_BE_EMPTY: [(&str, Condition, &str); 4] = [
    ("Fullest conntrack table", no_conntrack, NO_CONNTRACK),
    ("Conntrack tables", no_conntrack, NO_CONNTRACK),
    ("Conntrack drops", no_conntrack, NO_CONNTRACK),
    ("Tables of other network namespaces", no_conntrack, NO_CONNTRACK),
];
const NO_CONNTRACK: &str = "this kernel has no connection tracking";

fn no_conntrack() -> bool {
    !Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists()
}

/// A query of a panel, and its last result with data.
pub(super) struct PanelQuery {
    dashboard: &'static str,
    title: String,
    pub(super) panel: u64,
    pub(super) target: String,
    expr: String,
    instant: bool,
    pub(super) result: Vec<Value>,
}

/// Values of the dashboard's variables.
#[derive(Clone, Copy)]
pub(super) struct Variables {
    instance: &'static str,
    cause: &'static str,
    since: SystemTime,
}

/// Generates resets until every query has returned data; lists those that never do, and fails.
pub(super) fn live(dashboards: &[(&'static str, Dashboard)], pictures: bool) -> Result<()> {
    let mut traffic = Traffic::build()?;
    let (agents, prometheus) = start_agents(&traffic)?;
    let variables = Variables { instance: ".*", cause: ".*", since: SystemTime::now() };
    let mut queries: Vec<_> = dashboards.iter().flat_map(|(name, it)| panel_queries(name, &it.json())).collect();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        traffic.round()?;
        for query in queries.iter_mut().filter(|it| it.result.is_empty()) {
            query.run(&prometheus, variables)?;
        }
        if queries.iter().all(|it| !it.result.is_empty() || it.skip_reason().is_some()) {
            break;
        }
    }
    if pictures {
        while started.elapsed() < PICTURE_DURATION {
            traffic.round()?;
        }
        draw(dashboards, &prometheus, variables)?;
    }
    drop(prometheus);
    agents.into_iter().try_for_each(Agent::end)?;
    report(&queries)
}

/// Starts an agent that observes the whole machine and two that each observe one host of the lab.
fn start_agents(traffic: &Traffic) -> Result<(Vec<Agent>, Prometheus)> {
    let mut agents = Vec::new();
    let mut scraped = Vec::new();
    let hosts = traffic.hosts().map(|(name, path)| (name, vec!["--netns".into(), path.into_os_string()]));
    for (name, filter) in [(HOST, Vec::new())].into_iter().chain(hosts) {
        let address = free()?;
        agents.push(start_agent(address, filter)?);
        scraped.push((name, address));
    }
    let prometheus = Prometheus::start(&scraped, None)?;
    Ok((agents, prometheus))
}

fn start_agent(address: SocketAddr, filter: Vec<OsString>) -> Result<Agent> {
    let mut args: Vec<OsString> = ["--log-level", "error", "--web.listen-address"].map(Into::into).into();
    args.push(address.to_string().into());
    args.extend(filter);
    let mut agent = Agent::start(&args)?;
    ensure!(agent.wait_ready(&format!("http://{address}"))?, "interrupted");
    Ok(agent)
}

fn panel_queries(dashboard: &'static str, json: &Value) -> Vec<PanelQuery> {
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
    fn run(&mut self, prometheus: &Prometheus, variables: Variables) -> Result<()> {
        let (from, to) = (seconds(variables.since), seconds(SystemTime::now()));
        let range = (!self.instant).then_some((from, to));
        let result = prometheus.ask(&variables.substitute(&self.expr, to - from), range)?;
        if result.iter().any(has_data) {
            self.result = result;
        }
        Ok(())
    }

    /// Why the query may return no data on this machine.
    fn skip_reason(&self) -> Option<&'static str> {
        let entry = MAY_BE_EMPTY.iter().find(|(title, condition, _)| *title == self.title && condition());
        entry.map(|(_, _, reason)| *reason)
    }
}

impl Variables {
    /// Replaces the dashboard's variables in a query.
    fn substitute(self, expr: &str, range: u64) -> String {
        let range = format!("{}s", range.max(10));
        let mut expr = expr.replace("$__rate_interval", "15s").replace("$__range", &range);
        expr = expr.replace("$instance", self.instance).replace("$cause", self.cause);
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

fn draw(dashboards: &[(&'static str, Dashboard)], prometheus: &Prometheus, variables: Variables) -> Result<()> {
    for (name, dashboard) in dashboards {
        // Fleet dashboards show the two hosts of the lab; the capacity dashboard shows the whole machine.
        let instance = if *name == "capacity" { HOST } else { "client|server" };
        // What the dashboard selects by default.
        let cause = "idle_reaped|middlebox_idle|no_such_connection";
        let mut queries = panel_queries(name, &dashboard.json());
        for query in &mut queries {
            query.run(prometheus, Variables { instance, cause, ..variables })?;
        }
        picture::draw(name, dashboard, &instance.replace('|', ", "), &queries)?;
    }
    Ok(())
}

fn report(queries: &[PanelQuery]) -> Result<()> {
    let mut empty = BTreeMap::new();
    for query in queries.iter().filter(|it| it.result.is_empty()) {
        let panel = format!("{} / {}", query.dashboard, query.title);
        match query.skip_reason() {
            Some(reason) => println!("skipped: {panel}: {reason}"),
            None => empty.entry(panel).or_insert_with(Vec::new).push(query.target.as_str()),
        }
    }
    let returned = queries.iter().filter(|it| !it.result.is_empty()).count();
    println!("{returned} of {} queries returned data", queries.len());
    for (panel, targets) in &empty {
        println!("no data: {panel}: {}", targets.join(" "));
    }
    if !empty.is_empty() {
        bail!("{} panels have no data: see above", empty.len());
    }
    Ok(())
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

    #[test]
    fn all_variables_are_substituted() {
        let variables = Variables { instance: ".*", cause: ".*", since: UNIX_EPOCH };
        for (name, dashboard) in crate::dashboards::all().unwrap() {
            for query in panel_queries(name, &dashboard.json()) {
                assert!(!variables.substitute(&query.expr, 60).contains('$'), "{}", query.expr);
            }
        }
    }

    #[test]
    fn panels_that_may_be_empty_exist() {
        let dashboards = crate::dashboards::all().unwrap();
        let queries: Vec<_> = dashboards.iter().flat_map(|(name, it)| panel_queries(name, &it.json())).collect();
        for (title, _, reason) in MAY_BE_EMPTY {
            assert!(queries.iter().any(|it| it.title == title) && !reason.is_empty(), "{title}");
        }
    }
}
