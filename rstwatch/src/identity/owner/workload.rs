//! Turns a resolved owner into the workload that events show, with the pod's name if the Kubernetes API knows it.

use std::borrow::Cow;
use std::sync::Arc;

use super::Outcome;
use super::cache::Resolution;
use super::path::{CgroupOwner, Runtime};
use super::pods::{Lookup, Pod, Pods};
use rstwatch_verdict::escape;
use rstwatch_verdict::event::{Process, Workload, WorkloadKind};

/// Hexadecimal digits of a container's id that tools show.
const SHORT_ID: usize = 12;
/// The name shown for pods that opt out of being named.
const OPTED_OUT: &str = "_opted_out";

/// The workload, and what it counts as. Falls back to the process.
pub(super) fn workload(
    resolution: &Resolution,
    process: Option<&Process>,
    pods: Option<&dyn Pods>,
) -> (Option<Workload>, Outcome) {
    let bare = || process.map(rstwatch_verdict::identity::workload);
    match resolution {
        Resolution::Owner(owner) => match &**owner {
            CgroupOwner::Container { runtime, id, pod } => container(*runtime, id, pod.as_ref(), pods),
            CgroupOwner::Pod(uid) => match lookup(pods, Some(uid), None) {
                Some(Lookup::Pod(pod)) => (Some(pod_workload(&pod, None)), Outcome::Pod),
                Some(Lookup::OptedOut) => (Some(opted_out()), Outcome::Pod),
                Some(Lookup::Unknown) => (bare(), Outcome::Unresolved),
                None => (bare(), Outcome::Process),
            },
            CgroupOwner::Unit(name) => (Some(plain(WorkloadKind::Unit, shown(name))), Outcome::Unit),
            CgroupOwner::Unmanaged => (bare(), Outcome::Process),
        },
        Resolution::Unmanaged => (bare(), Outcome::Process),
        Resolution::Unknown | Resolution::Pending => (bare(), Outcome::Unresolved),
    }
}

fn container(
    runtime: Runtime,
    id: &Arc<str>,
    uid: Option<&Arc<str>>,
    pods: Option<&dyn Pods>,
) -> (Option<Workload>, Outcome) {
    let of_kubelet = uid.is_some() || matches!(runtime, Runtime::Crio | Runtime::Kubernetes);
    let outcome = match lookup(pods, uid, Some(id)) {
        Some(Lookup::Pod(pod)) => return (Some(pod_workload(&pod, Some(id))), Outcome::Pod),
        Some(Lookup::OptedOut) => return (Some(opted_out()), Outcome::Pod),
        Some(Lookup::Unknown) if of_kubelet => Outcome::Unresolved,
        Some(Lookup::Unknown) | None => Outcome::Container,
    };
    let name = if id.len() == 64 { id.get(..SHORT_ID).unwrap_or(id).into() } else { shown(id) };
    (Some(Workload { container: Some(shown(id)), ..plain(WorkloadKind::Container, name) }), outcome)
}

fn lookup(pods: Option<&dyn Pods>, uid: Option<&Arc<str>>, container: Option<&Arc<str>>) -> Option<Lookup> {
    Some(pods?.find(uid.map(|uid| &**uid), container.map(|id| &**id)))
}

fn plain(kind: WorkloadKind, name: Arc<str>) -> Workload {
    Workload { kind, namespace: None, name, container: None, controller: None }
}

fn opted_out() -> Workload {
    plain(WorkloadKind::Pod, OPTED_OUT.into())
}

/// A container that the API does not list (a pod's sandbox, or one that has just started) is named by its id.
fn pod_workload(pod: &Pod, container: Option<&Arc<str>>) -> Workload {
    let container = container.map(|id| {
        let listed = pod.containers.iter().find(|(known, _)| known == id);
        shown(listed.map_or(id, |(_, name)| name))
    });
    let controller = pod
        .controller
        .as_ref()
        .map(|it| rstwatch_verdict::event::Controller { kind: shown(&it.kind), name: shown(&it.name) });
    Workload {
        namespace: Some(shown(&pod.namespace)),
        container,
        controller,
        ..plain(WorkloadKind::Pod, shown(&pod.name))
    }
}

/// A name from a path or from the API, made printable.
fn shown(name: &Arc<str>) -> Arc<str> {
    match escape::printable(name) {
        Cow::Borrowed(_) => Arc::clone(name),
        Cow::Owned(escaped) => escaped.into(),
    }
}
