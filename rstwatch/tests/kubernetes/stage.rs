//! A server, and a client of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rstwatch::identity::kubernetes::client::Source;
use rstwatch::identity::kubernetes::failure::Kind;
use rstwatch::identity::kubernetes::guard::Limits;
use rstwatch::identity::kubernetes::settings::Settings;
use rstwatch::identity::kubernetes::watch::Patience;
use rstwatch::identity::kubernetes::{Knowledge, Kubernetes};
use rstwatch::identity::owner::pods::{Lookup, Pods};
use tempfile::TempDir;

use crate::NODE;
use crate::apiserver::{ApiServer, pod};

/// As the default, in small.
pub(crate) fn impatient() -> Patience {
    Patience {
        limits: Limits {
            answer: Duration::from_millis(500),
            list: Duration::from_millis(800),
            pace: Duration::from_millis(5),
            ..Limits::default()
        },
        shortest: Duration::from_millis(10),
        longest: Duration::from_millis(50),
        calm: Duration::from_millis(100),
        settling: Duration::from_millis(20),
        tick: Duration::from_millis(5),
    }
}

/// A server, and a client of it.
pub(crate) struct Stage {
    /// The server.
    pub api: ApiServer,
    kubernetes: Kubernetes,
    /// Where the kubeconfig is.
    pub folder: TempDir,
}

impl Stage {
    pub(crate) fn new(api: ApiServer, kubeconfig: &str, remote_limit: Option<usize>) -> Self {
        Self::with(api, kubeconfig, remote_limit, impatient())
    }

    pub(crate) fn with(api: ApiServer, kubeconfig: &str, remote_limit: Option<usize>, patience: Patience) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).expect("written");
        let settings = Settings { source: Source::Kubeconfig(path), node: NODE.into(), remote_limit };
        let kubernetes = Kubernetes::with_patience(&settings, patience);
        Self { api, kubernetes, folder }
    }

    pub(crate) fn plain() -> Self {
        let api = ApiServer::start().expect("a server");
        api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
        let kubeconfig = api.kubeconfig();
        Self::new(api, &kubeconfig, None)
    }

    pub(crate) fn known(&self) -> &Knowledge {
        self.kubernetes.knowledge()
    }

    pub(crate) fn name(&self, uid: &str) -> Option<String> {
        match self.known().pods.find(Some(uid), None) {
            Lookup::Pod(pod) => Some(format!("{}/{}", pod.namespace, pod.name)),
            Lookup::OptedOut => Some("opted out".to_owned()),
            Lookup::Unknown => None,
        }
    }

    pub(crate) fn errors(&self, kind: Kind) -> u64 {
        self.known().health.errors().iter().find(|(counted, _)| *counted == kind).map_or(0, |(_, count)| *count)
    }

    pub(crate) async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !is(self) {
            assert!(
                Instant::now() < end,
                "never: {what}; {:?}; {:?}",
                self.known().snapshot(),
                self.api.requests().last()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn in_sync(&self) {
        self.until("in sync", |it| it.known().health.is_up()).await;
    }
}
