//! Checks references between documents: names must exist, labels must match, and capabilities must agree.

use serde_json::Value;

use super::capabilities::BASE;
use super::document::{list, name, word};

/// Cluster-scoped kinds.
const CLUSTER_SCOPED: [&str; 4] = ["Namespace", "ClusterRole", "ClusterRoleBinding", "SecurityContextConstraints"];
/// The namespace of all other documents.
const NAMESPACE: &str = "rstwatch";

/// Inconsistencies between documents that are applied together. `extra` are capabilities in addition to [`BASE`].
pub(super) fn problems(documents: &[Value], extra: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents {
        let namespace = word(document, "/metadata/namespace");
        let wanted = if CLUSTER_SCOPED.contains(&word(document, "/kind")) { "" } else { NAMESPACE };
        if namespace != wanted {
            found.push(format!("{}: namespace {namespace:?}, not {wanted:?}", name(document)));
        }
    }
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| word(document, "/kind") == kind);
    let Some(agent) = of_kind("DaemonSet").next() else {
        found.push("no DaemonSet".to_owned());
        return found;
    };
    let exists = |kind: &'static str, name: &str| of_kind(kind).any(|found| word(found, "/metadata/name") == name);
    let pod = &agent["spec"]["template"];
    if !selects(&agent["spec"]["selector"]["matchLabels"], pod) {
        found.push("the DaemonSet does not select its own pods".to_owned());
    }
    found.extend(pod_problems(&pod["spec"], &exists));
    found.extend(security_context(&pod["spec"], extra));
    for policy in of_kind("NetworkPolicy") {
        if !selects(&policy["spec"]["podSelector"]["matchLabels"], pod) {
            found.push("the NetworkPolicy does not select the pods".to_owned());
        }
        found.extend(ports(list(policy, "/spec/ingress").iter().flat_map(|rule| list(rule, "/ports")), pod));
    }
    for monitor in of_kind("PodMonitor") {
        if !selects(&monitor["spec"]["selector"]["matchLabels"], pod) {
            found.push("the PodMonitor does not select the pods".to_owned());
        }
        found.extend(ports(list(monitor, "/spec/podMetricsEndpoints").iter(), pod));
    }
    for binding in of_kind("ClusterRoleBinding") {
        let role = word(binding, "/roleRef/name");
        let subject = word(binding, "/subjects/0/name");
        if !exists("ClusterRole", role) || !exists("ServiceAccount", subject) {
            found.push(format!(
                "the ClusterRoleBinding refers to {role:?} and {subject:?}, of which one does not exist"
            ));
        }
        if word(binding, "/subjects/0/namespace") != NAMESPACE {
            found.push("the subject of the ClusterRoleBinding is in another namespace".to_owned());
        }
    }
    for constraints in of_kind("SecurityContextConstraints") {
        let capabilities = &pod["spec"]["containers"][0]["securityContext"]["capabilities"]["add"];
        if constraints["allowedCapabilities"] != *capabilities {
            found.push(format!("the SecurityContextConstraints do not allow exactly {capabilities}"));
        }
        found.extend(host_access(constraints, &pod["spec"]));
    }
    if exists("ClusterRole", "rstwatch") != pod["spec"]["automountServiceAccountToken"].as_bool().unwrap_or(true) {
        found.push("the pod mounts a token without a ClusterRole, or has a ClusterRole without a token".to_owned());
    }
    found
}

fn pod_problems(pod: &Value, exists: &dyn Fn(&'static str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    if !exists("ServiceAccount", word(pod, "/serviceAccountName")) {
        found.push("the pod's ServiceAccount does not exist".to_owned());
    }
    let volumes = list(pod, "/volumes");
    for volume in volumes.iter().filter(|volume| volume.get("configMap").is_some()) {
        let config = word(volume, "/configMap/name");
        if !exists("ConfigMap", config) {
            found.push(format!("volume: ConfigMap {config:?} does not exist"));
        }
    }
    let container = &pod["containers"][0];
    let mounts = list(container, "/volumeMounts");
    let named = |all: &[Value], name: &Value| all.iter().any(|one| one["name"] == *name);
    found.extend(mounts.iter().filter(|m| !named(volumes, &m["name"])).map(|m| format!("no volume {}", m["name"])));
    found
        .extend(volumes.iter().filter(|v| !named(mounts, &v["name"])).map(|v| format!("{} is not mounted", v["name"])));
    found.extend(mounts.iter().filter(|m| m["readOnly"] != true).map(|m| format!("{} is mounted writable", m["name"])));
    for probe in ["readinessProbe", "livenessProbe"] {
        let port = &container[probe]["httpGet"]["port"];
        if !named(list(container, "/ports"), port) {
            found.push(format!("{probe}: no port {port}"));
        }
    }
    let config =
        list(container, "/args").iter().filter_map(Value::as_str).find_map(|arg| arg.strip_prefix("--config="));
    let inside = |file: &str| mounts.iter().any(|m| file.starts_with(&format!("{}/", word(m, "/mountPath"))));
    if !config.is_some_and(inside) {
        found.push(format!("--config is not in a mounted volume: {config:?}"));
    }
    found
}

/// The container must have exactly the tested capabilities and no other privileges.
fn security_context(pod: &Value, extra: &[&str]) -> Vec<String> {
    let container = &pod["containers"][0]["securityContext"];
    let wanted: Vec<&str> = BASE.iter().chain(extra).copied().collect();
    let expected = serde_json::json!({
        "runAsUser": 0, "runAsGroup": 0, "privileged": false, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"], "add": wanted },
    });
    let mut found = Vec::new();
    if *container != expected {
        found.push(format!("the container's securityContext is {container}, not {expected}"));
    }
    if list(pod, "/containers").len() != 1 || pod.get("initContainers").is_some() {
        found.push("the pod has more than one container".to_owned());
    }
    found
}

/// The constraints must allow exactly the host namespaces that the pod uses. With hostNetwork, the pod uses host ports too.
fn host_access(constraints: &Value, pod: &Value) -> Vec<String> {
    let pairs = [
        ("allowHostPID", "hostPID"),
        ("allowHostIPC", "hostIPC"),
        ("allowHostNetwork", "hostNetwork"),
        ("allowHostPorts", "hostNetwork"),
    ];
    let other = pairs.iter().filter(|(allowed, used)| constraints[*allowed] != pod[*used]);
    other.map(|(allowed, used)| format!("{allowed} of the constraints differs from {used} of the pod")).collect()
}

/// Whether labels select the pod. An empty selector would select every pod, so it does not count.
fn selects(labels: &Value, pod: &Value) -> bool {
    let Some(labels) = labels.as_object() else { return false };
    !labels.is_empty() && labels.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value)
}

fn ports<'a>(named: impl Iterator<Item = &'a Value>, pod: &Value) -> Vec<String> {
    let ports = list(&pod["spec"]["containers"][0], "/ports");
    let missing = named.filter(|one| !ports.iter().any(|port| port["name"] == one["port"]));
    missing.map(|one| format!("the pod has no port {}", one["port"])).collect()
}
