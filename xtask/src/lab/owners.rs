//! Owners: what the daemon and a watcher call a process by the cgroup that it is in.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::agents::Agents;
use super::cgroup::{Cgroup, ENTER};
use super::net::Net;
use super::peer::{Peer, command};
use super::place::{Family, at};
use super::sock::Listener;
use super::vantage::Vantage;
use super::wait::until_true;

/// The watchers print at once; the daemon looks at listeners each second, and a busy or emulated machine less often.
const NOTICED: Duration = Duration::from_secs(30);
const ID: &str = "1a2b3c4d5e6f48c0f51401c069cd2189f0e659af17d5a2daca3bddf59d8a870b";

/// A cgroup, and what its processes are to be called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    path: &'static str,
    kind: &'static str,
    workload: &'static str,
    container: Option<&'static str>,
}

/// As the kubelet's systemd driver and systemd make them. Other shapes are in the daemon's own table.
pub(super) const CASES: [Case; 2] = [
    Case {
        name: "pod",
        path: "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7d9c57f2_4f0e_4b32_9c1c_1ab0c3d4e5f6.slice/cri-containerd-1a2b3c4d5e6f48c0f51401c069cd2189f0e659af17d5a2daca3bddf59d8a870b.scope",
        kind: "container",
        workload: "1a2b3c4d5e6f",
        container: Some(ID),
    },
    Case {
        name: "unit",
        path: "system.slice/rstwatch-lab.service",
        kind: "unit",
        workload: "rstwatch-lab.service",
        container: None,
    },
];

/// A process in that cgroup listens, and another one there connects and aborts; `None`: no cgroup can be made here.
pub(super) fn named(net: &Net, agents: &Agents, case: Case, port: u16) -> Result<Option<String>> {
    // The agents run: they meet the cgroup as it comes.
    let Some(cgroup) = Cgroup::make(&net.janitor, case.path)? else { return Ok(None) };
    let listens = at(Family::V4.server(), port);
    let aborts = at(Family::V4.server(), port + 1);
    let _queue = Peer::start_in(&net.server, &net.janitor, "queue", listens, 1, cgroup.path())?;
    let _server = Listener::open(&net.server, aborts, 16)?;
    abort(net, &aborts.to_string(), cgroup.path())?;
    let event = sent(agents, port + 1)?;
    let workload = &event["workload"];
    let said = (workload["kind"].as_str(), workload["name"].as_str(), workload["container"].as_str());
    ensure!(said == (Some(case.kind), Some(case.workload), case.container), "the watcher says {workload}");
    let labels = format!("workload_kind=\"{}\",namespace=\"\",workload=\"{}\"", case.kind, case.workload);
    until_true("its owner in the metrics", NOTICED, || {
        let page = agents.daemon.page()?;
        let has = |metric: &str| page.lines().any(|line| line.starts_with(metric) && line.contains(&labels));
        Ok(has("rstwatch_resets_total{direction=\"sent\"") && has("rstwatch_listen_queue_limit{"))
    })?;
    Ok(Some(format!("{} {}", case.kind, case.workload)))
}

fn abort(net: &Net, server: &str, cgroup: &Path) -> Result<()> {
    let mut helper = command(&["abort", server, "lab-owner"])?;
    let mut helper = net.client.spawn(helper.env(ENTER, cgroup).stdin(Stdio::null()))?;
    let status = helper.wait()?;
    ensure!(status.success(), "the process that should abort: {status}");
    Ok(())
}

/// The sender's event.
fn sent(agents: &Agents, port: u16) -> Result<Value> {
    let mut found = None;
    until_true("the sender's event", NOTICED, || {
        let events = agents.events(Vantage::All, port);
        found = events.into_iter().find(|event| event.direction == "sent");
        Ok(found.is_some())
    })?;
    Ok(serde_json::from_str(&found.context("an event")?.line)?)
}
