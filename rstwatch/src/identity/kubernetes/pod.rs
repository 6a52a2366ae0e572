//! A pod as the API sends it: only the fields that are used, of types that take anything.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::Deserialize;

use super::controller::{Owner, Signs, controller};
use super::loose::{Flag, List, Loose, Text};
use super::object::{OPT_OUT, addresses};
use crate::identity::owner::pods::{Controller, Pod};

/// Most containers of one kind that are kept of a pod.
const CONTAINERS: usize = 64;

/// A pod, its fields checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub struct Seen {
    /// Of it only the resource version.
    meta: ObjectMeta,
    /// Names it for ever; none: nothing can be made of it.
    pub uid: Option<Arc<str>>,
    /// Uid in the cgroup paths of a static pod: the hash of its manifest, 32 hex digits. The kubelet writes it for the pods that
    /// stand for static ones in the API (pkg/kubelet/pod/mirror_client.go), and deletes those that others make so.
    pub config_hash: Option<Arc<str>>,
    /// Its annotation asks that it is not named.
    pub opted_out: bool,
    /// What users see of it.
    pub pod: Pod,
    /// Its addresses; none where they are its node's, or no longer its own.
    pub addresses: Vec<IpAddr>,
}

impl Resource for Seen {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Loose<Metadata>,
    spec: Loose<Spec>,
    status: Loose<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Text,
    namespace: Text,
    uid: Text,
    resource_version: Text,
    creation_timestamp: Text,
    labels: Loose<Labels>,
    annotations: Loose<Annotations>,
    owner_references: List<Loose<Reference>, 16>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "pod-template-hash")]
    template: Text,
    #[serde(rename = "rollouts-pod-template-hash")]
    rollout: Text,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "rstwatch.dev/ignore-names")]
    ignore: Text,
    #[serde(rename = "kubernetes.io/config.mirror")]
    config_hash: Text,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reference {
    api_version: Text,
    kind: Text,
    name: Text,
    controller: Flag,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Text,
    host_network: Flag,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Text,
    #[serde(rename = "podIP")]
    pod_ip: Text,
    #[serde(rename = "podIPs")]
    pod_ips: List<Loose<Address>, 16>,
    container_statuses: List<Loose<Container>, CONTAINERS>,
    init_container_statuses: List<Loose<Container>, CONTAINERS>,
    ephemeral_container_statuses: List<Loose<Container>, CONTAINERS>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: Text,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: Text,
    #[serde(rename = "containerID")]
    id: Text,
    last_state: Loose<LastState>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LastState {
    terminated: Loose<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    id: Text,
}

impl From<Raw> for Seen {
    fn from(Raw { metadata: Loose(metadata), spec: Loose(spec), status: Loose(status) }: Raw) -> Self {
        let shared = |text: &Text| text.get().map(Arc::from);
        let pod = Pod {
            namespace: shared(&metadata.namespace).unwrap_or_default(),
            name: shared(&metadata.name).unwrap_or_default(),
            controller: made_by(&metadata, &spec),
            containers: containers(&status),
        };
        let finished = matches!(status.phase.get(), Some("Succeeded" | "Failed"));
        let own = !spec.host_network.0 && !finished;
        let texts = status.pod_ips.0.iter().map(|Loose(address)| &address.ip).chain([&status.pod_ip]);
        Self {
            addresses: if own { addresses(texts) } else { Vec::new() },
            uid: shared(&metadata.uid).filter(|_| !pod.name.is_empty()),
            config_hash: shared(&metadata.annotations.0.config_hash).filter(|hash| is_hash(hash)),
            opted_out: metadata.annotations.0.ignore.get() == Some(OPT_OUT),
            pod,
            meta: ObjectMeta {
                resource_version: metadata.resource_version.0.map(String::from),
                ..ObjectMeta::default()
            },
        }
    }
}

fn made_by(metadata: &Metadata, spec: &Spec) -> Option<Controller> {
    let Loose(owner) = metadata.owner_references.0.iter().find(|Loose(reference)| reference.controller.0)?;
    let (kind, name) = (owner.kind.get()?, owner.name.get()?);
    let signs = Signs {
        name: metadata.name.get().unwrap_or_default(),
        node: spec.node_name.get().unwrap_or_default(),
        template_hash: metadata.labels.0.template.get(),
        rollout_hash: metadata.labels.0.rollout.get(),
        created: metadata.creation_timestamp.get().and_then(|created| created.parse().ok()),
    };
    Some(controller(Owner { api_version: owner.api_version.get().unwrap_or_default(), kind, name }, &signs))
}

/// Running ones, and the one before each: its last connections may be told of late.
fn containers(status: &Status) -> Vec<(Arc<str>, Arc<str>)> {
    let Status { container_statuses, init_container_statuses, ephemeral_container_statuses, .. } = status;
    let all = [container_statuses, init_container_statuses, ephemeral_container_statuses];
    let mut containers = Vec::new();
    for Loose(container) in all.into_iter().flat_map(|list| &list.0) {
        let Some(name) = container.name.get().map(Arc::<str>::from) else { continue };
        for id in [&container.id, &container.last_state.0.terminated.0.id] {
            containers.extend(id.get().and_then(bare).map(|id| (Arc::from(id), Arc::clone(&name))));
        }
    }
    containers.sort_unstable();
    containers.dedup_by(|a, b| a.0 == b.0);
    containers.shrink_to_fit();
    containers
}

/// MD5, as the kubelet writes it: nothing else names a static pod's cgroup, and no container's id looks so.
fn is_hash(hash: &str) -> bool {
    hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// `containerd://4f2a` without the runtime; none if nothing is left.
fn bare(id: &str) -> Option<&str> {
    Some(id.split_once("://").map_or(id, |(_, id)| id)).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

    fn read(value: &serde_json::Value) -> Seen {
        serde_json::from_str(&value.to_string()).unwrap_or_else(|error| panic!("{value}: {error}"))
    }

    #[test]
    fn what_is_needed_is_read() {
        let seen = read(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "orders-7c9d8f6b5-abcde", "namespace": "shop", "uid": "u-1", "resourceVersion": "17",
                "labels": {"app": "orders", "pod-template-hash": "7c9d8f6b5"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "x"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-7c9d8f6b5", "controller": true},
                ],
                "managedFields": [{"fieldsV1": {"f:metadata": {}}}],
            },
            "spec": {"nodeName": "node-a", "containers": [{"name": "api"}]},
            "status": {
                "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "nonsense"}],
                "containerStatuses": [{
                    "name": "api", "containerID": "containerd://aa",
                    "lastState": {"terminated": {"containerID": "containerd://99"}},
                }],
                "initContainerStatuses": [{"name": "init", "containerID": "cri-o://bb"}],
                "ephemeralContainerStatuses": [{"name": "debug", "containerID": "docker://cc"}, {"name": "new"}],
            },
        }));
        let pair = |id: &str, name: &str| (Arc::from(id), Arc::from(name));
        let expected = Pod {
            namespace: "shop".into(),
            name: "orders-7c9d8f6b5-abcde".into(),
            controller: Some(Controller { kind: "Deployment".into(), name: "orders".into() }),
            containers: vec![pair("99", "api"), pair("aa", "api"), pair("bb", "init"), pair("cc", "debug")],
        };
        assert_eq!(seen.pod, expected);
        assert_eq!((seen.uid.as_deref(), seen.config_hash, seen.opted_out), (Some("u-1"), None, false));
        assert_eq!(seen.meta.resource_version.as_deref(), Some("17"));
        assert_eq!(
            seen.addresses,
            ["10.0.0.1".parse::<IpAddr>().expect("an address"), "fd00::1".parse().expect("one")]
        );
    }

    #[test]
    fn annotations_are_obeyed() {
        let seen = read(&json!({"metadata": {"name": "a", "uid": "u", "annotations": {
            "rstwatch.dev/ignore-names": "true", "kubernetes.io/config.mirror": HASH}}}));
        assert_eq!((seen.opted_out, seen.config_hash.as_deref()), (true, Some(HASH)));
        let seen = read(&json!({"metadata": {"annotations": {"rstwatch.dev/ignore-names": "false"}}}));
        assert!(!seen.opted_out);
    }

    #[test]
    fn only_a_mirrors_hash_names_a_static_pod() {
        let hash = |annotation: &str, value: &str| {
            read(&json!({"metadata": {"name": "a", "uid": "u", "annotations": {annotation: value}}})).config_hash
        };
        assert_eq!(hash("kubernetes.io/config.mirror", HASH).as_deref(), Some(HASH));
        assert_eq!(hash("kubernetes.io/config.hash", HASH), None, "anybody's to set");
        let (container, capital) = ("a".repeat(64), HASH.to_uppercase());
        for other in ["", "0a1b", "u-1", "9c0ff8a3-7e1e-4f38-8a0a-7c1a9c52b0de", &container, &capital] {
            assert_eq!(hash("kubernetes.io/config.mirror", other), None, "{other}");
        }
    }

    #[test]
    fn addresses_of_others_are_not_its_own() {
        let status = json!({"podIP": "10.0.0.1", "phase": "Running"});
        assert_eq!(read(&json!({"status": status})).addresses.len(), 1);
        assert!(read(&json!({"status": status, "spec": {"hostNetwork": true}})).addresses.is_empty());
        assert!(read(&json!({"status": {"podIP": "10.0.0.1", "phase": "Succeeded"}})).addresses.is_empty());
    }

    #[test]
    fn anything_else_is_taken_too() {
        for value in [json!({}), json!({"metadata": null, "spec": [], "status": 7}), json!({"metadata": {"uid": {}}})] {
            let seen = read(&value);
            assert_eq!((seen.uid, seen.pod.containers.len()), (None, 0));
        }
        let many: Vec<_> =
            (0..1_000).map(|i| json!({"name": "c", "containerID": format!("containerd://{i}")})).collect();
        assert_eq!(read(&json!({"status": {"containerStatuses": many}})).pod.containers.len(), CONTAINERS);
    }
}
