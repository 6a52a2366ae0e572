//! Runs every panel's queries on a Prometheus server that scrapes real agents while the lab generates resets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail, ensure};
use dev_support::agent::Agent;
use dev_support::port::ReservedPort;
use dev_support::prometheus::Prometheus;
use lab::Traffic;

use super::dashboard::Dashboard;
use super::panel_query::{PanelQuery, Variables, panel_queries};
use super::picture;

/// Rounds of traffic, of about ten seconds each. The first creates the series; rates need the later ones.
const ROUNDS: u32 = 8;
/// How long traffic runs before pictures are drawn: idle timeouts must expire, and graphs need more than a few points.
const PICTURE_DURATION: Duration = Duration::from_secs(200);
/// Name of the agent that observes the whole machine.
const HOST: &str = "host";

/// Whether a panel cannot have data on this machine.
pub(super) type Condition = fn() -> bool;

/// Panels that may be empty: title, condition, reason.
pub(super) const MAY_BE_EMPTY: [(&str, Condition, &str); 4] = [
    ("Fullest conntrack table", no_conntrack, NO_CONNTRACK),
    ("Conntrack tables", no_conntrack, NO_CONNTRACK),
    ("Conntrack drops", no_conntrack, NO_CONNTRACK),
    ("Tables of other network namespaces", no_conntrack, NO_CONNTRACK),
];
const NO_CONNTRACK: &str = "this kernel has no connection tracking";

fn no_conntrack() -> bool {
    !Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists()
}

/// Generates resets until every query has returned data; lists those that never do, and fails.
pub(super) fn live(dashboards: &[(&'static str, Dashboard)], pictures: bool) -> Result<()> {
    let mut traffic = Traffic::build()?;
    let (agents, prometheus) = start_agents(&traffic)?;
    let variables = Variables { instance: ".*", cause: ".*", fold: "received", since: SystemTime::now() };
    let mut queries: Vec<_> = dashboards.iter().flat_map(|(name, it)| panel_queries(name, &it.json())).collect();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        traffic.round()?;
        for query in queries.iter_mut().filter(|it| it.result.is_empty()) {
            query.run(&prometheus, variables)?;
        }
        if queries.iter().all(|it| !it.result.is_empty() || skip_reason(it).is_some()) {
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
        let (agent, address) = start_agent(filter)?;
        agents.push(agent);
        scraped.push((name, address));
    }
    let prometheus = Prometheus::start(&scraped, None)?;
    Ok((agents, prometheus))
}

fn start_agent(filter: Vec<OsString>) -> Result<(Agent, SocketAddr)> {
    let port = ReservedPort::new()?;
    let address = port.address();
    let mut args: Vec<OsString> = ["--log-level", "error", "--web.listen-address"].map(Into::into).into();
    args.push(address.to_string().into());
    args.extend(filter);
    let mut agent = Agent::start(&args)?;
    ensure!(agent.wait_ready(&format!("http://{address}"))?, "interrupted");
    Ok((agent, address))
}

fn draw(dashboards: &[(&'static str, Dashboard)], prometheus: &Prometheus, variables: Variables) -> Result<()> {
    for (name, dashboard) in dashboards {
        // Fleet dashboards show the two hosts of the lab; the capacity dashboard shows the whole machine.
        let instance = if *name == "capacity" { HOST } else { "client|server" };
        // What the dashboard selects by default.
        let cause = "idle_reaped|middlebox_idle|no_such_connection";
        let mut queries = panel_queries(name, &dashboard.json());
        for query in &mut queries {
            query.run(prometheus, Variables { instance, cause, fold: "none", ..variables })?;
        }
        picture::draw(name, dashboard, &instance.replace('|', ", "), &queries)?;
    }
    Ok(())
}

/// Why the query may return no data on this machine.
fn skip_reason(query: &PanelQuery) -> Option<&'static str> {
    let entry = MAY_BE_EMPTY.iter().find(|(title, condition, _)| *title == query.title && condition());
    entry.map(|(_, _, reason)| *reason)
}

fn report(queries: &[PanelQuery]) -> Result<()> {
    let mut empty = BTreeMap::new();
    for query in queries.iter().filter(|it| it.result.is_empty()) {
        let panel = format!("{} / {}", query.dashboard, query.title);
        match skip_reason(query) {
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
