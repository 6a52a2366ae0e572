//! What is asked for, and how.

use rstwatch::identity::owner::pods::{Lookup, Pods};

use crate::NODE;
use crate::apiserver::{ApiServer, Mood, pod};
use crate::stage::{Stage, impatient};

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

/// From the server's cache in one piece, as kubelets ask; where that is too long or all pods are asked for, in pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_come_in_pages() {
    let api = ApiServer::start().expect("a server");
    for i in 0..250 {
        api.put("pods", pod("many", &format!("p{i}"), NODE, &format!("10.0.0.{i}")));
    }
    let kubeconfig = api.kubeconfig();
    let mut patience = impatient();
    patience.limits.list_bytes = 50_000;
    let stage = Stage::with(api, &kubeconfig, Some(1_000), patience);
    stage.until("listed", |it| it.known().pods.len() == 250).await;
    stage.until("all addresses", |it| it.known().names.as_ref().is_some_and(|names| names.len() == 250)).await;
    let lists = |own: bool| {
        let requests = stage.api.requests().into_iter().filter(move |request| {
            !request.is_watch() && request.path == "/api/v1/pods" && request.value("fieldSelector").is_some() == own
        });
        let how = |request: crate::apiserver::Request| {
            let value = |key: &str| request.value(key).unwrap_or("-").to_owned();
            format!("{} {} {}", value("resourceVersion"), value("limit"), request.value("continue").is_some())
        };
        requests.map(how).collect::<Vec<_>>()
    };
    assert_eq!(lists(true), ["0 - false", "- 100 false", "- 100 true", "- 100 true"]);
    assert_eq!(lists(false), ["- 100 false", "- 100 true", "- 100 true"]);
}

/// A version that only a bookmark told of is where the next watch begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bookmarks_move_the_watch_on() {
    let stage = Stage::plain();
    stage.in_sync().await;
    assert!(stage.api.wait_for_watches(1));
    for i in 0..10 {
        stage.api.put("pods", pod("shop", &format!("elsewhere-{i}"), "node-b", "10.0.1.1"));
    }
    stage.api.bookmark();
    let versions = |requests: &[crate::apiserver::Request]| -> Vec<u64> {
        let watches = requests.iter().filter(|request| request.is_watch());
        watches.filter_map(|request| request.value("resourceVersion")?.parse().ok()).collect()
    };
    assert_eq!(versions(&stage.api.requests()), [2]);
    stage.api.set(Mood::Well);
    let resumed = |it: &Stage| versions(&it.api.requests()).get(1) == Some(&13);
    stage.until("watched from the bookmark on", resumed).await;
    let lists = stage.api.requests().iter().filter(|request| !request.is_watch()).count();
    assert_eq!(lists, 1, "nothing was listed again; {:?}", stage.known().health.errors());
}
