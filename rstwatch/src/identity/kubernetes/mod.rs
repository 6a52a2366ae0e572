//! Names of pods, and optionally of remote ends, from the Kubernetes API.
//!
//! Nothing waits for the API. Watches run in the background and fill caches; a lookup returns what is cached. The only requests
//! are GETs that list and watch: the pods of this node, and with `remote = true` all pods, services and nodes.

use std::sync::Arc;

use kube::runtime::watcher;
use tokio::task::JoinSet;

use crate::identity::owner::pods::Pods;
use rstwatch_verdict::event::Event;

pub mod client;
pub mod controller;
pub mod failure;
pub mod directory;
pub mod health;
pub mod lenient;
pub mod limits;
pub mod metrics;
pub mod names;
pub mod needs;
pub mod object;
pub mod pod;
pub mod response_error;
pub mod settings;
pub mod store;
pub mod watch;

use directory::Directory;
use failure::Kind;
use health::{Health, WatchHealth};
use names::Names;
use object::{Node, Service};
use pod::WatchedPod;
use settings::Settings;
use store::PodStore;
use watch::{PAGE_SIZE, Sink, Watch, WatchTimeouts};

/// The running watches, which end when this is dropped, and their cache.
#[derive(Debug)]
pub struct Kubernetes {
    cache: ClusterCache,
    _watches: JoinSet<()>,
}

/// The objects that the watches have seen; cheap to clone.
#[derive(Clone, Debug)]
pub struct ClusterCache {
    /// Pods of this node.
    pub pods: Arc<PodStore>,
    /// Names by address; `None` unless remote ends are named.
    pub names: Option<Arc<Names>>,
    /// The state of the watches.
    pub health: Arc<Health>,
}

impl Kubernetes {
    /// Starts the watches. Returns at once; errors are logged, counted and retried.
    pub fn start(settings: &Settings) -> Self {
        Self::with_timeouts(settings, WatchTimeouts::default())
    }

    /// Starts the watches with other timeouts.
    pub fn with_timeouts(settings: &Settings, timeouts: WatchTimeouts) -> Self {
        let health = Arc::new(Health::default());
        let pods = Arc::new(PodStore::default());
        let names = settings.remote_limit.map(|limit| Arc::new(Names::new(limit)));
        let mut watches = Watches { settings, timeouts, health: Arc::clone(&health), tasks: JoinSet::new() };
        // Read the list from the API server's cache, and whole: the cache has an index of pods by node, while etcd would read
        // all pods for each node.
        let own = watcher::Config { page_size: None, ..watcher::Config::default() }.any_semantic();
        let own = own.fields(&format!("spec.nodeName={}", settings.node));
        watches.start(&format!("pods of node {}", settings.node), true, own, Arc::clone(&pods));
        if let Some(names) = &names {
            let all = || watcher::Config::default().page_size(PAGE_SIZE);
            watches.start("all pods", false, all(), Directory::<WatchedPod>::new(names));
            watches.start("services", false, all(), Directory::<Service>::new(names));
            watches.start("nodes", false, all(), Directory::<Node>::new(names));
        }
        Self { cache: ClusterCache { pods, names, health }, _watches: watches.tasks }
    }

    /// The objects that the watches have seen.
    pub fn cache(&self) -> &ClusterCache {
        &self.cache
    }
}

impl ClusterCache {
    /// The pods of this node, for the resolution of owners.
    pub fn pods(&self) -> Arc<dyn Pods> {
        Arc::clone(&self.pods) as Arc<dyn Pods>
    }

    /// Sets the name of an event's remote end, if its address has one.
    pub fn name_remote(&self, event: &mut Event) {
        let Some(names) = &self.names else { return };
        event.remote_workload = names.find(event.remote.ip());
    }

    /// The values of the metrics.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            up: self.health.is_up(),
            errors: self.health.errors(),
            pods: self.pods.len(),
            pods_refused: self.pods.refused(),
            addresses: self.names.as_ref().map(|names| (names.len(), names.refused())),
        }
    }
}

/// The values of the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether the watch of this node's pods is in sync.
    pub up: bool,
    /// Errors so far, by kind.
    pub errors: [(Kind, u64); Kind::ALL.len()],
    /// Existing pods of this node.
    pub pods: usize,
    /// Pods not kept because the limit was reached.
    pub pods_refused: u64,
    /// Addresses with a name, and those not kept because the limit was reached.
    pub addresses: Option<(usize, u64)>,
}

/// Starts watches with the same settings.
struct Watches<'a> {
    settings: &'a Settings,
    timeouts: WatchTimeouts,
    health: Arc<Health>,
    tasks: JoinSet<()>,
}

impl Watches<'_> {
    fn start<S>(&mut self, subject: &str, reported: bool, config: watcher::Config, sink: S)
    where
        S: Sink + 'static,
        S::Object:
            kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    {
        let settling = self.timeouts.settling;
        let health = WatchHealth::new(Arc::clone(&self.health), format!("kubernetes: {subject}"), reported, settling);
        let watch = Watch {
            source: self.settings.source.clone(),
            config,
            sink,
            health: Arc::new(health),
            timeouts: self.timeouts,
        };
        self.tasks.spawn(watch.run());
    }
}
