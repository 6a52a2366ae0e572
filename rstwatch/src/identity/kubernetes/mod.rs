//! Pods by name, and on request the other ends: from the Kubernetes API.
//!
//! Nothing here is waited for. Watches run beside everything else and fill stores in memory; who asks gets what is known.
//! The only requests are GETs that list and watch: pods of this node, and with `remote = true` all pods, services, nodes.

use std::sync::Arc;

use kube::runtime::watcher;
use tokio::task::JoinSet;

use crate::identity::owner::pods::Pods;
use rstwatch_verdict::event::Event;

pub mod client;
pub mod controller;
pub mod failure;
pub mod guard;
pub mod health;
pub mod loose;
pub mod metrics;
pub mod names;
pub mod object;
pub mod pod;
pub mod reach;
pub mod settings;
pub mod store;
pub mod watch;

use failure::Kind;
use health::{Condition, Health};
use names::{Directory, Names};
use object::{Node, Service};
use pod::Seen;
use settings::Settings;
use store::Store;
use watch::{PAGE, Patience, Sink, Watch};

/// Watches that run until this is dropped, and what they know.
#[derive(Debug)]
pub struct Kubernetes {
    knowledge: Knowledge,
    _watches: JoinSet<()>,
}

/// What the watches know; cheap to clone.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// Pods of this node.
    pub pods: Arc<Store>,
    /// Names by address, where the other end gets one.
    pub names: Option<Arc<Names>>,
    /// How the watches fare.
    pub health: Arc<Health>,
}

impl Kubernetes {
    /// Starts to watch; it answers at once and cannot fail.
    pub fn start(settings: &Settings) -> Self {
        Self::with_patience(settings, Patience::default())
    }

    /// The same, of another patience.
    pub fn with_patience(settings: &Settings, patience: Patience) -> Self {
        let health = Arc::new(Health::default());
        let pods = Arc::new(Store::default());
        let names = settings.remote_limit.map(|limit| Arc::new(Names::new(limit)));
        let mut start = Start { settings, patience, health: &health, watches: JoinSet::new() };
        // From the API server's cache, in one piece: it finds a node's pods by index there, where etcd goes through all
        // pods for each node that asks.
        let own = watcher::Config { page_size: None, ..watcher::Config::default() }.any_semantic();
        let own = own.fields(&format!("spec.nodeName={}", settings.node));
        start.watch(&format!("pods of node {}", settings.node), true, own, Arc::clone(&pods));
        if let Some(names) = &names {
            let all = || watcher::Config::default().page_size(PAGE);
            start.watch("all pods", false, all(), Directory::<Seen>::new(names));
            start.watch("services", false, all(), Directory::<Service>::new(names));
            start.watch("nodes", false, all(), Directory::<Node>::new(names));
        }
        let watches = start.watches;
        Self { knowledge: Knowledge { pods, names, health }, _watches: watches }
    }

    /// What the watches know.
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }
}

impl Knowledge {
    /// The pods of this node, for owners.
    pub fn pods(&self) -> Arc<dyn Pods> {
        Arc::clone(&self.pods) as Arc<dyn Pods>
    }

    /// Names the other end of an event's connection, if it has a name.
    pub fn name_remote(&self, event: &mut Event) {
        let Some(names) = &self.names else { return };
        event.remote_workload = names.find(event.remote.ip());
    }

    /// What the metrics show.
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

/// The metrics' view of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether the watch of this node's pods is in sync.
    pub up: bool,
    /// Errors so far, by kind.
    pub errors: [(Kind, u64); Kind::ALL.len()],
    /// Pods of this node that live.
    pub pods: usize,
    /// Pods that there was no room for.
    pub pods_refused: u64,
    /// Addresses with a name, and those that there was no room for.
    pub addresses: Option<(usize, u64)>,
}

struct Start<'a> {
    settings: &'a Settings,
    patience: Patience,
    health: &'a Arc<Health>,
    watches: JoinSet<()>,
}

impl Start<'_> {
    fn watch<S>(&mut self, what: &str, shown: bool, config: watcher::Config, sink: S)
    where
        S: Sink + 'static,
        S::Object:
            kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    {
        let settling = self.patience.settling;
        let condition = Condition::new(Arc::clone(self.health), format!("kubernetes: {what}"), shown, settling);
        let watch = Watch {
            source: self.settings.source.clone(),
            config,
            sink,
            condition: Arc::new(condition),
            patience: self.patience,
        };
        self.watches.spawn(watch.run());
    }
}
