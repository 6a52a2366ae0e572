//! Every query of every panel, asked of a Prometheus that scrapes real agents while real resets are made.

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

/// Each round takes some ten seconds; the first makes series, the others their rates.
const ROUNDS: u32 = 8;
/// A course that one can see, and minutes of silence that end.
const PICTURED: Duration = Duration::from_secs(200);
/// The agent that sees the whole machine.
const HOST: &str = "host";

/// Whether data can be had here at all.
type Obstacle = fn() -> bool;

/// Panels that may legitimately be empty, when, and why.
const MAY_BE_EMPTY: [(&str, Obstacle, &str); 4] = [
    ("Fullest conntrack table", no_conntrack, NO_CONNTRACK),
    ("Conntrack tables", no_conntrack, NO_CONNTRACK),
    ("Conntrack drops", no_conntrack, NO_CONNTRACK),
    ("Tables of other network namespaces", no_conntrack, NO_CONNTRACK),
];
const NO_CONNTRACK: &str = "this kernel has no connection tracking";

fn no_conntrack() -> bool {
    !Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists()
}

/// One query of a panel, and the last answer that held data.
pub(super) struct Question {
    dashboard: &'static str,
    title: String,
    pub(super) panel: u64,
    pub(super) target: String,
    expr: String,
    instant: bool,
    pub(super) answer: Vec<Value>,
}

/// What the dashboard's variables are set to.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    instance: &'static str,
    cause: &'static str,
    since: SystemTime,
}

/// Makes resets until every query has answered with data; an error that lists those that never did.
pub(super) fn live(dashboards: &[(&'static str, Dashboard)], pictures: bool) -> Result<()> {
    let mut traffic = Traffic::build()?;
    let (agents, prometheus) = watch(&traffic)?;
    let chosen = Chosen { instance: ".*", cause: ".*", since: SystemTime::now() };
    let mut questions: Vec<_> = dashboards.iter().flat_map(|(name, it)| questions(name, &it.json())).collect();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        traffic.round()?;
        for question in questions.iter_mut().filter(|it| it.answer.is_empty()) {
            question.ask(&prometheus, chosen)?;
        }
        if questions.iter().all(|it| !it.answer.is_empty() || it.excuse().is_some()) {
            break;
        }
    }
    if pictures {
        while started.elapsed() < PICTURED {
            traffic.round()?;
        }
        draw(dashboards, &prometheus, chosen)?;
    }
    drop(prometheus);
    agents.into_iter().try_for_each(Agent::end)?;
    verdict(&questions)
}

/// One agent that sees everything, and two that see what a host of their own would.
fn watch(traffic: &Traffic) -> Result<(Vec<Agent>, Prometheus)> {
    let mut agents = Vec::new();
    let mut scraped = Vec::new();
    let hosts = traffic.hosts().map(|(name, path)| (name, vec!["--netns".into(), path.into_os_string()]));
    for (name, filter) in [(HOST, Vec::new())].into_iter().chain(hosts) {
        let at = free()?;
        agents.push(agent(at, filter)?);
        scraped.push((name, at));
    }
    let prometheus = Prometheus::start(&scraped, None)?;
    Ok((agents, prometheus))
}

fn agent(at: SocketAddr, filter: Vec<OsString>) -> Result<Agent> {
    let mut args: Vec<OsString> = ["--log-level", "error", "--web.listen-address"].map(Into::into).into();
    args.push(at.to_string().into());
    args.extend(filter);
    let mut agent = Agent::start(&args)?;
    ensure!(agent.wait_ready(&format!("http://{at}"))?, "interrupted");
    Ok(agent)
}

fn questions(dashboard: &'static str, json: &Value) -> Vec<Question> {
    let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let word = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for panel in list(json, "panels") {
        for target in list(&panel, "targets") {
            all.push(Question {
                dashboard,
                title: word(&panel, "title"),
                panel: panel["id"].as_u64().unwrap_or_default(),
                target: word(&target, "refId"),
                expr: word(&target, "expr"),
                instant: target["instant"] == true,
                answer: Vec::new(),
            });
        }
    }
    all
}

impl Question {
    fn ask(&mut self, prometheus: &Prometheus, chosen: Chosen) -> Result<()> {
        let (from, to) = (seconds(chosen.since), seconds(SystemTime::now()));
        let range = (!self.instant).then_some((from, to));
        let answer = prometheus.ask(&chosen.in_place(&self.expr, to - from), range)?;
        if answer.iter().any(has_data) {
            self.answer = answer;
        }
        Ok(())
    }

    /// Why it may have no data here.
    fn excuse(&self) -> Option<&'static str> {
        let excused = MAY_BE_EMPTY.iter().find(|(title, obstacle, _)| *title == self.title && obstacle());
        excused.map(|(_, _, why)| *why)
    }
}

impl Chosen {
    /// The query with the dashboard's variables replaced.
    fn in_place(self, expr: &str, range: u64) -> String {
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

/// Whether a series has a value that is a number.
fn has_data(series: &Value) -> bool {
    let number =
        |sample: &Value| sample[1].as_str().and_then(|value| value.parse::<f64>().ok()).is_some_and(f64::is_finite);
    number(&series["value"]) || series["values"].as_array().is_some_and(|all| all.iter().any(number))
}

fn draw(dashboards: &[(&'static str, Dashboard)], prometheus: &Prometheus, chosen: Chosen) -> Result<()> {
    for (name, dashboard) in dashboards {
        // Two hosts for what is told of a fleet; the whole machine for its limits.
        let instance = if *name == "capacity" { HOST } else { "client|server" };
        // As the dashboard begins.
        let cause = "idle_reaped|middlebox_idle|no_such_connection";
        let mut questions = questions(name, &dashboard.json());
        for question in &mut questions {
            question.ask(prometheus, Chosen { instance, cause, ..chosen })?;
        }
        picture::draw(name, dashboard, &instance.replace('|', ", "), &questions)?;
    }
    Ok(())
}

fn verdict(questions: &[Question]) -> Result<()> {
    let mut empty = BTreeMap::new();
    for question in questions.iter().filter(|it| it.answer.is_empty()) {
        let panel = format!("{} / {}", question.dashboard, question.title);
        match question.excuse() {
            Some(why) => println!("skipped: {panel}: {why}"),
            None => empty.entry(panel).or_insert_with(Vec::new).push(question.target.as_str()),
        }
    }
    let answered = questions.iter().filter(|it| !it.answer.is_empty()).count();
    println!("{answered} of {} queries answered with data", questions.len());
    for (panel, targets) in &empty {
        println!("no data: {panel}: {}", targets.join(" "));
    }
    if !empty.is_empty() {
        bail!("{} panels lack data: see above", empty.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_data_and_nothing_else_is() {
        assert!(has_data(&json!({ "value": [1, "0"] })));
        assert!(has_data(&json!({ "values": [[1, "NaN"], [2, "0.5"]] })));
        assert!(!has_data(&json!({ "value": [1, "+Inf"] })));
        assert!(!has_data(&json!({ "values": [] })));
    }

    #[test]
    fn no_variable_stays_in_a_query() {
        let chosen = Chosen { instance: ".*", cause: ".*", since: UNIX_EPOCH };
        for (name, dashboard) in crate::dashboards::all().unwrap() {
            for question in questions(name, &dashboard.json()) {
                assert!(!chosen.in_place(&question.expr, 60).contains('$'), "{}", question.expr);
            }
        }
    }

    #[test]
    fn only_panels_may_be_empty() {
        let dashboards = crate::dashboards::all().unwrap();
        let asked: Vec<_> = dashboards.iter().flat_map(|(name, it)| questions(name, &it.json())).collect();
        for (title, _, why) in MAY_BE_EMPTY {
            assert!(asked.iter().any(|it| it.title == title) && !why.is_empty(), "{title}");
        }
    }
}
