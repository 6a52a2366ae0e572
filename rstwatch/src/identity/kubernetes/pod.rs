//! A pod as the watch delivers it, with checked fields.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::Deserialize;

use self::raw::{Metadata, Raw, Spec, Status};
use super::controller::{OwnerReference, PodFields, controller};
use super::lenient::{Lenient, Text};
use super::object::{OPT_OUT, addresses};
use crate::identity::owner::pods::{Controller, Pod};

mod raw;

/// A pod from the API.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub struct WatchedPod {
    /// Holds only the resource version.
    meta: ObjectMeta,
    /// Unique over time; a pod without it is ignored.
    pub uid: Option<Arc<str>>,
    /// The uid in a static pod's cgroup paths: the hash of its manifest, 32 hex digits. The kubelet sets it on the mirror pods
    /// that represent static pods in the API (pkg/kubelet/pod/mirror_client.go), and deletes mirror pods that others create.
    pub config_hash: Option<Arc<str>>,
    /// Its annotation opts out of being named.
    pub opted_out: bool,
    /// The fields that are shown.
    pub pod: Pod,
    /// Its addresses; empty if it uses those of its node, or has finished and released them.
    pub addresses: Vec<IpAddr>,
}

impl Resource for WatchedPod {
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

impl From<Raw> for WatchedPod {
    fn from(Raw { metadata: Lenient(metadata), spec: Lenient(spec), status: Lenient(status) }: Raw) -> Self {
        let shared = |text: &Text| text.get().map(Arc::from);
        let pod = Pod {
            namespace: shared(&metadata.namespace).unwrap_or_default(),
            name: shared(&metadata.name).unwrap_or_default(),
            controller: controller_of(&metadata, &spec),
            containers: containers(&status),
        };
        let finished = matches!(status.phase.get(), Some("Succeeded" | "Failed"));
        let own = !spec.host_network.0 && !finished;
        let texts = status.pod_ips.0.iter().map(|Lenient(address)| &address.ip).chain([&status.pod_ip]);
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

fn controller_of(metadata: &Metadata, spec: &Spec) -> Option<Controller> {
    let Lenient(owner) = metadata.owner_references.0.iter().find(|Lenient(reference)| reference.controller.0)?;
    let (kind, name) = (owner.kind.get()?, owner.name.get()?);
    let fields = PodFields {
        name: metadata.name.get().unwrap_or_default(),
        node: spec.node_name.get().unwrap_or_default(),
        template_hash: metadata.labels.0.template.get(),
        rollout_hash: metadata.labels.0.rollout.get(),
        created: metadata.creation_timestamp.get().and_then(|created| created.parse().ok()),
    };
    Some(controller(OwnerReference { api_version: owner.api_version.get().unwrap_or_default(), kind, name }, &fields))
}

/// The containers and their previous instances, whose last connections may be reported late.
fn containers(status: &Status) -> Vec<(Arc<str>, Arc<str>)> {
    let Status { container_statuses, init_container_statuses, ephemeral_container_statuses, .. } = status;
    let all = [container_statuses, init_container_statuses, ephemeral_container_statuses];
    let mut containers = Vec::new();
    for Lenient(container) in all.into_iter().flat_map(|list| &list.0) {
        let Some(name) = container.name.get().map(Arc::<str>::from) else { continue };
        for id in [&container.id, &container.last_state.0.terminated.0.id] {
            containers.extend(id.get().and_then(container_id).map(|id| (Arc::from(id), Arc::clone(&name))));
        }
    }
    containers.sort_unstable();
    containers.dedup_by(|a, b| a.0 == b.0);
    containers.shrink_to_fit();
    containers
}

/// An MD5 hash, as the kubelet writes it; container ids have another length.
fn is_hash(hash: &str) -> bool {
    hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The id in `RUNTIME://ID`; `None` if it is empty.
fn container_id(id: &str) -> Option<&str> {
    Some(id.split_once("://").map_or(id, |(_, id)| id)).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests;
