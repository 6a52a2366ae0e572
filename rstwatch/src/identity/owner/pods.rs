//! The lookup of this node's pods by the ids in cgroup paths.

use std::sync::Arc;

/// A pod, with the fields that owners show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The workload that created it.
    pub controller: Option<Controller>,
    /// Its containers: id, without the prefix of the runtime, and name.
    pub containers: Vec<(Arc<str>, Arc<str>)>,
}

/// The workload that created a pod, such as a `Deployment`, `StatefulSet`, `DaemonSet`, `Job` or `CronJob`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Kind, as in the API.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// The result of a pod lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A known pod.
    Pod(Arc<Pod>),
    /// A pod whose annotation opts out of being named.
    OptedOut,
    /// Not reported by the API, or not yet.
    Unknown,
}

/// A lookup table of pods. It never blocks on the API.
pub trait Pods: Send + Sync {
    /// Finds a pod by its uid, else by the id of one of its containers.
    fn find(&self, uid: Option<&str>, container: Option<&str>) -> Lookup;
}
