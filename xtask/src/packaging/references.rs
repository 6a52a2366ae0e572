//! What one document says of another: names that must be there, labels that must match, rights that must be the same.

use serde_json::Value;

use super::document::{list, name, word};
use super::rights::ALWAYS;

/// Kinds without a namespace.
const CLUSTERS: [&str; 4] = ["Namespace", "ClusterRole", "ClusterRoleBinding", "SecurityContextConstraints"];
/// Where all the others are.
const NAMESPACE: &str = "rstwatch";

/// What is wrong between the documents that are applied together; `extra` are capabilities beyond those of everywhere.
pub(super) fn problems(documents: &[Value], extra: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents {
        let namespace = word(document, "/metadata/namespace");
        let wanted = if CLUSTERS.contains(&word(document, "/kind")) { "" } else { NAMESPACE };
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
    found.extend(rights(&pod["spec"], extra));
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
            found.push(format!("the binding joins {role:?} and {subject:?}, of which one is not there"));
        }
        if word(binding, "/subjects/0/namespace") != NAMESPACE {
            found.push("the binding's subject is in another namespace".to_owned());
        }
    }
    for constraints in of_kind("SecurityContextConstraints") {
        let capabilities = &pod["spec"]["containers"][0]["securityContext"]["capabilities"]["add"];
        if constraints["allowedCapabilities"] != *capabilities {
            found.push(format!("the constraints allow other capabilities than {capabilities}"));
        }
        found.extend(host(constraints, &pod["spec"]));
    }
    if exists("ClusterRole", "rstwatch") != pod["spec"]["automountServiceAccountToken"].as_bool().unwrap_or(true) {
        found.push("a token without rights, or rights without a token".to_owned());
    }
    found
}

fn pod_problems(pod: &Value, exists: &dyn Fn(&'static str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    if !exists("ServiceAccount", word(pod, "/serviceAccountName")) {
        found.push("the pod's ServiceAccount is not there".to_owned());
    }
    let volumes = list(pod, "/volumes");
    for volume in volumes.iter().filter(|volume| volume.get("configMap").is_some()) {
        let config = word(volume, "/configMap/name");
        if !exists("ConfigMap", config) {
            found.push(format!("volume: no ConfigMap {config:?}"));
        }
    }
    let container = &pod["containers"][0];
    let mounts = list(container, "/volumeMounts");
    let named = |all: &[Value], name: &Value| all.iter().any(|one| one["name"] == *name);
    found.extend(mounts.iter().filter(|m| !named(volumes, &m["name"])).map(|m| format!("no volume {}", m["name"])));
    found
        .extend(volumes.iter().filter(|v| !named(mounts, &v["name"])).map(|v| format!("{} is not mounted", v["name"])));
    found.extend(mounts.iter().filter(|m| m["readOnly"] != true).map(|m| format!("{} may be written", m["name"])));
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
        found.push(format!("--config is no file of a mount: {config:?}"));
    }
    found
}

/// The capabilities are those that are tested, and nothing else widens the container.
fn rights(pod: &Value, extra: &[&str]) -> Vec<String> {
    let container = &pod["containers"][0]["securityContext"];
    let wanted: Vec<&str> = ALWAYS.iter().chain(extra).copied().collect();
    let expected = serde_json::json!({
        "runAsUser": 0, "runAsGroup": 0, "privileged": false, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"], "add": wanted },
    });
    let mut found = Vec::new();
    if *container != expected {
        found.push(format!("the container's rights are {container}, not {expected}"));
    }
    if list(pod, "/containers").len() != 1 || pod.get("initContainers").is_some() {
        found.push("more than one container".to_owned());
    }
    found
}

/// What of the host the constraints allow is what the pod has. In the host's network its ports are the host's.
fn host(constraints: &Value, pod: &Value) -> Vec<String> {
    let pairs = [
        ("allowHostPID", "hostPID"),
        ("allowHostIPC", "hostIPC"),
        ("allowHostNetwork", "hostNetwork"),
        ("allowHostPorts", "hostNetwork"),
    ];
    let other = pairs.iter().filter(|(allowed, used)| constraints[*allowed] != pod[*used]);
    other.map(|(allowed, used)| format!("the constraints' {allowed} is not the pod's {used}")).collect()
}

/// Whether labels select a pod; none would select all.
fn selects(labels: &Value, pod: &Value) -> bool {
    let Some(labels) = labels.as_object() else { return false };
    !labels.is_empty() && labels.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value)
}

fn ports<'a>(named: impl Iterator<Item = &'a Value>, pod: &Value) -> Vec<String> {
    let ports = list(&pod["spec"]["containers"][0], "/ports");
    let missing = named.filter(|one| !ports.iter().any(|port| port["name"] == one["port"]));
    missing.map(|one| format!("no port {} in the pod", one["port"])).collect()
}
