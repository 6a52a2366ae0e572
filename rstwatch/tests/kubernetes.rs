//! The watches of the Kubernetes API against a server that speaks as it does, and fails in every way it can.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rstwatch::kubernetes::client::Source;
use rstwatch::kubernetes::guard::Limits;
use rstwatch::kubernetes::health::Kind;
use rstwatch::kubernetes::settings::Settings;
use rstwatch::kubernetes::watch::Patience;
use rstwatch::kubernetes::{Knowledge, Kubernetes};
use rstwatch::owner::pods::{Lookup, Pods};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "apiserver/mod.rs"]
pub mod apiserver;

use apiserver::{ApiServer, Mood, pod};

const NODE: &str = "node-a";

/// As the default, in small.
fn impatient() -> Patience {
    Patience {
        limits: Limits {
            answer: Duration::from_millis(500),
            list: Duration::from_millis(800),
            pace: Duration::from_millis(5),
            ..Limits::default()
        },
        shortest: Duration::from_millis(10),
        longest: Duration::from_millis(50),
        calm: Duration::from_secs(60),
        settling: Duration::from_millis(20),
        tick: Duration::from_millis(5),
    }
}

/// A server, and a client of it.
struct Stage {
    api: ApiServer,
    kubernetes: Kubernetes,
    _folder: TempDir,
}

impl Stage {
    fn new(api: ApiServer, kubeconfig: &str, remote_limit: Option<usize>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).expect("written");
        let settings = Settings { source: Source::Kubeconfig(path), node: NODE.into(), remote_limit };
        let kubernetes = Kubernetes::with_patience(&settings, impatient());
        Self { api, kubernetes, _folder: folder }
    }

    fn plain() -> Self {
        let api = ApiServer::start().expect("a server");
        api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
        let kubeconfig = api.kubeconfig();
        Self::new(api, &kubeconfig, None)
    }

    fn known(&self) -> &Knowledge {
        self.kubernetes.knowledge()
    }

    fn name(&self, uid: &str) -> Option<String> {
        match self.known().pods.find(Some(uid), None) {
            Lookup::Pod(pod) => Some(format!("{}/{}", pod.namespace, pod.name)),
            Lookup::OptedOut => Some("opted out".to_owned()),
            Lookup::Unknown => None,
        }
    }

    fn errors(&self, kind: Kind) -> u64 {
        self.known().health.errors().iter().find(|(counted, _)| *counted == kind).map_or(0, |(_, count)| *count)
    }

    async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
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

    async fn in_sync(&self) {
        self.until("in sync", |it| it.known().health.is_up()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_this_node_are_followed() {
    let stage = Stage::plain();
    stage.api.put("pods", pod("shop", "elsewhere", "node-b", "10.0.1.1"));
    stage.in_sync().await;
    stage.until("listed", |it| it.name("uid-shop-orders").as_deref() == Some("shop/orders")).await;
    assert!(stage.api.wait_for_watches(1));
    stage.api.put("pods", pod("shop", "late", NODE, "10.0.0.2"));
    stage.until("added", |it| it.name("uid-shop-late").is_some()).await;
    let mut restarted = pod("shop", "late", NODE, "10.0.0.2");
    restarted["status"]["containerStatuses"][0]["containerID"] = "containerd://new".into();
    stage.api.put("pods", restarted);
    let by_container = |id: &'static str| move |it: &Stage| it.known().pods.find(None, Some(id)) != Lookup::Unknown;
    stage.until("changed", by_container("new")).await;
    assert!(by_container("shop-late-1")(&stage), "the container before it still resolves");
    stage.api.remove("pods", "shop/late");
    stage.until("deleted", |it| it.known().pods.len() == 1).await;
    assert_eq!(stage.name("uid-shop-late").as_deref(), Some("shop/late"), "what is gone still resolves");
    assert_eq!(stage.name("uid-shop-elsewhere"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_only_lists_and_watches_the_pods_of_its_node() {
    let stage = Stage::plain();
    stage.in_sync().await;
    assert!(stage.api.wait_for_watches(1));
    for request in stage.api.requests() {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/api/v1/pods"));
        assert_eq!(request.value("fieldSelector"), Some("spec.nodeName=node-a"));
        assert_eq!(request.authorization.as_deref(), Some("Bearer secret"));
        assert_eq!(request.value("allowWatchBookmarks"), request.is_watch().then_some("true"));
    }
}
