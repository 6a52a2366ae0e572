//! A full conntrack table must fire its alert, through the agent, Prometheus and the shipped rules. Only in a VM, because the
//! limit applies to the whole machine.

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
const ALERT: &str = "RstwatchConntrackFull";
const DROPS: &str = "rstwatch_conntrack_drops_total{kind=\"full\"}";
/// Connections that fill the table.
const TABLE: usize = 16;
/// Timeout for the alert. The daemon samples every second, Prometheus scrapes and evaluates every second, and an emulated
/// machine is slow at all of it.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Fills the server's table, and waits until the alert fires. Returns the alert's summary.
pub(crate) fn conntrack_full(net: &Net, daemon: SocketAddr, port: u16) -> Result<String> {
    let server = &net.server;
    let _tracked = Rule::other(server, "input", "ct state invalid counter")?;
    let to = at(Family::V4.server(), port);
    // The agent reads a namespace through a process inside it.
    let _listener = Peer::start(server, &net.cleanup, "queue", to, 2 * TABLE)?;
    let prometheus = Prometheus::start(&[("vm", daemon)], Some(RULES))?;
    until("the first scrape", TIMEOUT, || Ok((!prometheus.ask(DROPS, None)?.is_empty()).then_some(())))?;
    let early = firing(&prometheus)?;
    ensure!(early.is_empty(), "an alert fires too early: {early:?}");
    let filled = (0..TABLE).map(|_| Tcp::connect(&net.client, to)).collect::<Result<Vec<_>>>()?;
    let limit = Limit::set(MAX, &TABLE.to_string())?;
    let refused = (0..TABLE).map(|_| Tcp::offer(&net.client, to)).collect::<Result<Vec<_>>>()?;
    let fired = until(ALERT, TIMEOUT, || Ok(Some(firing(&prometheus)?).filter(|alerts| !alerts.is_empty())));
    let fired = fired.with_context(|| format!("{DROPS}: {:?}", prometheus.ask(DROPS, None)))?;
    drop((refused, limit, filled));
    let names: Vec<_> = fired.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default()).collect();
    ensure!(names == [ALERT], "fired: {names:?}");
    let said = fired.iter().filter_map(|alert| alert["annotations"]["summary"].as_str());
    Ok(format!("{ALERT} fires: {}", said.collect::<String>()))
}

fn firing(prometheus: &Prometheus) -> Result<Vec<Value>> {
    Ok(prometheus.alerts()?.into_iter().filter(|alert| alert["state"] == "firing").collect())
}
