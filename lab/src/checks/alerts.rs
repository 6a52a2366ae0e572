//! Checks end to end that a full conntrack table fires its alert: agent, Prometheus and the shipped rules. Runs only in a VM,
//! because the limit (`nf_conntrack_max`) applies to the whole machine.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dev_support::prometheus::Prometheus;
use serde_json::Value;

use crate::network::host::{Family, at};
use crate::network::net::Net;
use crate::network::nft::Rule;
use crate::network::peer::Peer;
use crate::network::sock::Tcp;
use crate::rows::limits::{Limit, MAX};
use crate::wait::until;

/// The shipped rules.
const RULES: &str = include_str!("../../../deploy/prometheus/rules.yaml");
/// The alert that must fire.
const ALERT: &str = "RstwatchConntrackFull";
const DROPS: &str = "rstwatch_conntrack_drops_total{kind=\"full\"}";
/// Size of the conntrack table, and the number of connections that fill it.
const TABLE_SIZE: usize = 16;
/// Timeout for each step. The agent samples, and Prometheus scrapes and evaluates, once a second; in an emulated VM all of it is
/// slow.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Fills the server's conntrack table and waits for the alert. Returns a line with the alert's summary.
pub(crate) fn conntrack_full(net: &Net, daemon: SocketAddr, port: u16) -> Result<String> {
    let server = &net.server;
    // A rule that needs conntrack enables it in this namespace.
    let _tracking = Rule::other(server, "input", "ct state invalid counter")?;
    let to = at(Family::V4.server(), port);
    // The agent reads a namespace's counters through a process inside it.
    let _listener = Peer::start(server, &net.cleanup, "queue", to, 2 * TABLE_SIZE)?;
    let prometheus = Prometheus::start(&[("vm", daemon)], Some(RULES))?;
    until("the first scrape", TIMEOUT, || Ok((!prometheus.ask(DROPS, None)?.is_empty()).then_some(())))?;
    let early = firing(&prometheus)?;
    ensure!(early.is_empty(), "an alert fires too early: {early:?}");
    let filled = (0..TABLE_SIZE).map(|_| Tcp::connect(&net.client, to)).collect::<Result<Vec<_>>>()?;
    let limit = Limit::set(MAX, &TABLE_SIZE.to_string())?;
    let refused = (0..TABLE_SIZE).map(|_| Tcp::offer(&net.client, to)).collect::<Result<Vec<_>>>()?;
    let fired = until(ALERT, TIMEOUT, || Ok(Some(firing(&prometheus)?).filter(|alerts| !alerts.is_empty())));
    let fired = fired.with_context(|| format!("{DROPS}: {:?}", prometheus.ask(DROPS, None)))?;
    drop((refused, limit, filled));
    let names: Vec<_> = fired.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default()).collect();
    ensure!(names == [ALERT], "fired: {names:?}");
    let summaries = fired.iter().filter_map(|alert| alert["annotations"]["summary"].as_str());
    Ok(format!("{ALERT} fires: {}", summaries.collect::<String>()))
}

/// The alerts that are firing now.
fn firing(prometheus: &Prometheus) -> Result<Vec<Value>> {
    Ok(prometheus.alerts()?.into_iter().filter(|alert| alert["state"] == "firing").collect())
}
