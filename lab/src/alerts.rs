//! From a full conntrack table to an alert that fires: agent, Prometheus, the shipped rules. Where the machine is ours
//! alone, for the limit is the whole machine's.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dev_support::prometheus::Prometheus;
use serde_json::Value;

use super::net::Net;
use super::nft::Rule;
use super::peer::Peer;
use super::place::{Family, at};
use super::rows::limits::{Limit, MAX};
use super::sock::Tcp;
use super::wait::until;

/// As they are shipped.
const RULES: &str = include_str!("../../deploy/prometheus/rules.yaml");
const ALERT: &str = "RstwatchConntrackFull";
const DROPS: &str = "rstwatch_conntrack_drops_total{kind=\"full\"}";
/// Connections that fill the table.
const ROOM: usize = 16;
/// The daemon looks each second, Prometheus scrapes and judges each second; an emulated machine is slow at all three.
const PATIENCE: Duration = Duration::from_secs(90);

/// Fills the server's table, and waits until the alert fires; what it says.
pub(super) fn conntrack_full(net: &Net, daemon: SocketAddr, port: u16) -> Result<String> {
    let server = &net.server;
    let _tracked = Rule::other(server, "input", "ct state invalid counter")?;
    let to = at(Family::V4.server(), port);
    // A process inside: through it the agent reads the namespace.
    let _listener = Peer::start(server, &net.janitor, "queue", to, 2 * ROOM)?;
    let prometheus = Prometheus::start(&[("vm", daemon)], Some(RULES))?;
    until("the first scrape", PATIENCE, || Ok((!prometheus.ask(DROPS, None)?.is_empty()).then_some(())))?;
    let early = firing(&prometheus)?;
    ensure!(early.is_empty(), "fires before anything happened: {early:?}");
    let filled = (0..ROOM).map(|_| Tcp::connect(&net.client, to)).collect::<Result<Vec<_>>>()?;
    let limit = Limit::set(MAX, &ROOM.to_string())?;
    let knocks = (0..ROOM).map(|_| Tcp::offer(&net.client, to)).collect::<Result<Vec<_>>>()?;
    let fired = until(ALERT, PATIENCE, || Ok(Some(firing(&prometheus)?).filter(|alerts| !alerts.is_empty())));
    let fired = fired.with_context(|| format!("{DROPS}: {:?}", prometheus.ask(DROPS, None)))?;
    drop((knocks, limit, filled));
    let names: Vec<_> = fired.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default()).collect();
    ensure!(names == [ALERT], "fired: {names:?}");
    let said = fired.iter().filter_map(|alert| alert["annotations"]["summary"].as_str());
    Ok(format!("{ALERT} fires: {}", said.collect::<String>()))
}

fn firing(prometheus: &Prometheus) -> Result<Vec<Value>> {
    Ok(prometheus.alerts()?.into_iter().filter(|alert| alert["state"] == "firing").collect())
}
