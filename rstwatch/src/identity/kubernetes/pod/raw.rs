//! The JSON of a pod: only the fields that are used, in lenient types.

use serde::Deserialize;

use super::super::lenient::{Flag, Lenient, List, Text};

/// Most containers of one kind kept per pod.
pub(super) const MAX_CONTAINERS: usize = 64;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) metadata: Lenient<Metadata>,
    pub(super) spec: Lenient<Spec>,
    pub(super) status: Lenient<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: Text,
    pub(super) namespace: Text,
    pub(super) uid: Text,
    pub(super) resource_version: Text,
    pub(super) creation_timestamp: Text,
    pub(super) labels: Lenient<Labels>,
    pub(super) annotations: Lenient<Annotations>,
    pub(super) owner_references: List<Lenient<Reference>, 16>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Labels {
    #[serde(rename = "pod-template-hash")]
    pub(super) template: Text,
    #[serde(rename = "rollouts-pod-template-hash")]
    pub(super) rollout: Text,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations {
    #[serde(rename = "rstwatch.dev/ignore-names")]
    pub(super) ignore: Text,
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub(super) config_hash: Text,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Reference {
    pub(super) api_version: Text,
    pub(super) kind: Text,
    pub(super) name: Text,
    pub(super) controller: Flag,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) node_name: Text,
    pub(super) host_network: Flag,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: Text,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Text,
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: List<Lenient<Address>, 16>,
    pub(super) container_statuses: List<Lenient<Container>, MAX_CONTAINERS>,
    pub(super) init_container_statuses: List<Lenient<Container>, MAX_CONTAINERS>,
    pub(super) ephemeral_container_statuses: List<Lenient<Container>, MAX_CONTAINERS>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Address {
    pub(super) ip: Text,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: Text,
    #[serde(rename = "containerID")]
    pub(super) id: Text,
    pub(super) last_state: Lenient<LastState>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct LastState {
    pub(super) terminated: Lenient<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Terminated {
    #[serde(rename = "containerID")]
    pub(super) id: Text,
}
