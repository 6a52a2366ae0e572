//! A fake API server and the watches of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rstwatch::identity::kubernetes::client::Source;
use rstwatch::identity::kubernetes::failure::Kind;
use rstwatch::identity::kubernetes::limits::ResponseLimits;
use rstwatch::identity::kubernetes::settings::Settings;
use rstwatch::identity::kubernetes::watch::WatchTimeouts;
use rstwatch::identity::kubernetes::{ClusterCache, Kubernetes};
use rstwatch::identity::owner::pods::{Lookup, Pods};
use tempfile::TempDir;

use crate::NODE;
use crate::apiserver::{ApiServer, pod};

/// Much shorter than the defaults.
pub(crate) fn short_timeouts() -> WatchTimeouts {
    WatchTimeouts {
        limits: ResponseLimits {
            response_timeout: Duration::from_millis(500),
            list_timeout: Duration::from_millis(800),
            watch_interval: Duration::from_millis(5),
            ..ResponseLimits::default()
        },
        min_backoff: Duration::from_millis(10),
        max_backoff: Duration::from_millis(50),
        backoff_reset: Duration::from_millis(100),
        settling: Duration::from_millis(20),
        tick: Duration::from_millis(5),
    }
}

/// A fake API server and the watches of it.
pub(crate) struct Fixture {
    /// The server.
    pub api: ApiServer,
    kubernetes: Kubernetes,
    /// Contains the kubeconfig.
    pub folder: TempDir,
}

impl Fixture {
    pub(crate) fn new(api: ApiServer, kubeconfig: &str, remote_limit: Option<usize>) -> Self {
        Self::with(api, kubeconfig, remote_limit, short_timeouts())
    }

    pub(crate) fn with(api: ApiServer, kubeconfig: &str, remote_limit: Option<usize>, timeouts: WatchTimeouts) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).expect("written");
        let settings = Settings { source: Source::Kubeconfig(path), node: NODE.into(), remote_limit };
        let kubernetes = Kubernetes::with_timeouts(&settings, timeouts);
        Self { api, kubernetes, folder }
    }

    pub(crate) fn with_one_pod() -> Self {
        let api = ApiServer::start().expect("a server");
        api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
        let kubeconfig = api.kubeconfig();
        Self::new(api, &kubeconfig, None)
    }

    pub(crate) fn cache(&self) -> &ClusterCache {
        self.kubernetes.cache()
    }

    pub(crate) fn name(&self, uid: &str) -> Option<String> {
        match self.cache().pods.find(Some(uid), None) {
            Lookup::Pod(pod) => Some(format!("{}/{}", pod.namespace, pod.name)),
            Lookup::OptedOut => Some("opted out".to_owned()),
            Lookup::Unknown => None,
        }
    }

    pub(crate) fn errors(&self, kind: Kind) -> u64 {
        self.cache().health.errors().iter().find(|(counted, _)| *counted == kind).map_or(0, |(_, count)| *count)
    }

    pub(crate) async fn wait_until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !is(self) {
            assert!(
                Instant::now() < end,
                "never: {what}; {:?}; {:?}",
                self.cache().snapshot(),
                self.api.requests().last()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn in_sync(&self) {
        self.wait_until("in sync", |it| it.cache().health.is_up()).await;
    }
}
