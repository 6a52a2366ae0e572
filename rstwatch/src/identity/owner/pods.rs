//! Pods of this node by the ids that cgroup paths bear.
use std::sync::Arc;

/// A pod as far as owners need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What made it.
    pub controller: Option<Controller>,
    /// Its containers: id without the runtime's prefix, and name.
    pub containers: Vec<(Arc<str>, Arc<str>)>,
}

/// The workload that a pod belongs to: `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, or any other kind of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Kind, as in the API.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// What the Kubernetes API said of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is this one.
    Pod(Arc<Pod>),
    /// Its annotation asks that it is not named.
    OptedOut,
    /// The API has not told of it (yet).
    Unknown,
}

/// Who knows pods. Answers at once, from memory.
pub trait Pods: Send + Sync {
    /// By uid, else by the id of one of its containers.
    fn find(&self, uid: Option<&str>, container: Option<&str>) -> Lookup;
}
