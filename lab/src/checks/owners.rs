//! Owners: the names that the daemon and a watcher derive from a process's cgroup.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::network::cgroup::{Cgroup, ENTER};
use crate::network::host::{Family, at};
use crate::network::net::Net;
use crate::network::peer::{Peer, command};
use crate::network::sock::Listener;
use crate::wait::until_true;
use crate::watchers::agents::{Agents, NODE};
use crate::watchers::vantage::Vantage;

/// Timeout. Watchers print at once; the daemon samples listeners every second, on a busy or emulated machine less often.
const NOTICED: Duration = Duration::from_secs(30);
const ID: &str = "1a2b3c4d5e6f48c0f51401c069cd2189f0e659af17d5a2daca3bddf59d8a870b";

/// A cgroup, and the owner expected of its processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    path: &'static str,
    /// The workload according to a watcher, which has no API.
    kind: &'static str,
    workload: &'static str,
    container: Option<&'static str>,
    /// The workload in the labels of the daemon, which has the Kubernetes API.
    labels: &'static str,
}

/// Cgroups as the kubelet's systemd driver and systemd create them. The daemon's own tests cover other shapes.
pub(crate) const CASES: [Case; 2] = [
    Case {
        name: "pod",
        path: "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7d9c57f2_4f0e_4b32_9c1c_1ab0c3d4e5f6.slice/cri-containerd-1a2b3c4d5e6f48c0f51401c069cd2189f0e659af17d5a2daca3bddf59d8a870b.scope",
        kind: "container",
        workload: "1a2b3c4d5e6f",
        container: Some(ID),
        labels: "workload_kind=\"pod\",namespace=\"shop\",workload=\"orders\"",
    },
    Case {
        name: "unit",
        path: "system.slice/rstwatch-lab.service",
        kind: "unit",
        workload: "rstwatch-lab.service",
        container: None,
        labels: "workload_kind=\"unit\",namespace=\"\",workload=\"rstwatch-lab.service\"",
    },
];

/// A process in the cgroup listens, and another one in it connects and aborts. `None` if no cgroup can be created here.
pub(crate) fn named(net: &Net, agents: &Agents, case: Case, port: u16) -> Result<Option<String>> {
    // The agents are already running when the cgroup is created.
    add_pod(agents)?;
    let Some(cgroup) = Cgroup::make(&net.cleanup, case.path)? else { return Ok(None) };
    let listens = at(Family::V4.server(), port);
    let aborts = at(Family::V4.server(), port + 1);
    let _queue = Peer::start_in(&net.server, &net.cleanup, "queue", listens, 1, cgroup.path())?;
    let _server = Listener::open(&net.server, aborts, 16)?;
    abort(net, &aborts.to_string(), cgroup.path())?;
    let event = sent(agents, port + 1)?;
    let workload = &event["workload"];
    let said = (workload["kind"].as_str(), workload["name"].as_str(), workload["container"].as_str());
    ensure!(said == (Some(case.kind), Some(case.workload), case.container), "the watcher says {workload}");
    until_true("its owner in the metrics", NOTICED, || {
        let page = agents.daemon.page()?;
        let has = |metric: &str| page.lines().any(|line| line.starts_with(metric) && line.contains(case.labels));
        Ok(has("rstwatch_resets_total{direction=\"sent\"") && has("rstwatch_listen_queue_limit{"))
    })?;
    if case.kind == "container" {
        named_by_the_api(agents, &aborts.to_string())?;
    }
    Ok(Some(format!("{} {}; in the metrics {}", case.kind, case.workload, case.labels)))
}

/// Adds the pod to the API before its cgroup is created, as with a kubelet.
fn add_pod(agents: &Agents) -> Result<()> {
    agents.api.put(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "shop",
            "name": "orders-7c9d5b6f4-x2x7q",
            "uid": "7d9c57f2-4f0e-4b32-9c1c-1ab0c3d4e5f6",
            "labels": {"pod-template-hash": "7c9d5b6f4"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-7c9d5b6f4", "controller": true, "uid": "r"},
            ],
        },
        "spec": {"nodeName": NODE, "hostNetwork": true},
        "status": {"containerStatuses": [{"name": "api", "containerID": format!("containerd://{ID}")}]},
    }));
    until_true("the daemon to know the pod", NOTICED, || {
        Ok(agents.daemon.page()?.lines().any(|line| line == "rstwatch_kubernetes_pods 1"))
    })
}

/// The daemon's event must name pod, container and controller.
fn named_by_the_api(agents: &Agents, server: &str) -> Result<()> {
    let events: Vec<Value> = serde_json::from_str(&agents.daemon.get("/api/v1/events")?)?;
    let sent = |event: &&Value| event["direction"] == "sent" && event["remote"] == server;
    let workload = &events.iter().find(sent).context("the daemon's event")?["workload"];
    let expected = json!({
        "kind": "pod",
        "namespace": "shop",
        "name": "orders-7c9d5b6f4-x2x7q",
        "container": "api",
        "controller": {"kind": "Deployment", "name": "orders"},
    });
    ensure!(*workload == expected, "the daemon says {workload}");
    Ok(())
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
