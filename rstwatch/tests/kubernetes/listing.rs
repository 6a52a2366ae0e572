//! The requests for lists and watches.

use rstwatch::identity::owner::pods::{Lookup, Pods};

use crate::NODE;
use crate::apiserver::{ApiServer, Behavior, pod};
use crate::fixture::{Fixture, short_timeouts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_this_node_are_followed() {
    let fixture = Fixture::with_one_pod();
    fixture.api.put("pods", pod("shop", "elsewhere", "node-b", "10.0.1.1"));
    fixture.in_sync().await;
    fixture.wait_until("listed", |it| it.name("uid-shop-orders").as_deref() == Some("shop/orders")).await;
    assert!(fixture.api.wait_for_watches(1));
    fixture.api.put("pods", pod("shop", "late", NODE, "10.0.0.2"));
    fixture.wait_until("added", |it| it.name("uid-shop-late").is_some()).await;
    let mut restarted = pod("shop", "late", NODE, "10.0.0.2");
    restarted["status"]["containerStatuses"][0]["containerID"] = "containerd://new".into();
    fixture.api.put("pods", restarted);
    let by_container = |id: &'static str| move |it: &Fixture| it.cache().pods.find(None, Some(id)) != Lookup::Unknown;
    fixture.wait_until("changed", by_container("new")).await;
    assert!(by_container("shop-late-1")(&fixture), "the replaced container still resolves");
    fixture.api.remove("pods", "shop/late");
    fixture.wait_until("deleted", |it| it.cache().pods.len() == 1).await;
    assert_eq!(fixture.name("uid-shop-late").as_deref(), Some("shop/late"), "a deleted pod still resolves");
    assert_eq!(fixture.name("uid-shop-elsewhere"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_lists_and_watches_of_this_nodes_pods_are_requested() {
    let fixture = Fixture::with_one_pod();
    fixture.in_sync().await;
    assert!(fixture.api.wait_for_watches(1));
    for request in fixture.api.requests() {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/api/v1/pods"));
        assert_eq!(request.value("fieldSelector"), Some("spec.nodeName=node-a"));
        assert_eq!(request.authorization.as_deref(), Some("Bearer secret"));
        assert_eq!(request.value("allowWatchBookmarks"), request.is_watch().then_some("true"));
    }
}

/// Lists of this node's pods come whole from the server's cache, as for kubelets; lists of all pods, or too long ones, in pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_come_in_pages() {
    let api = ApiServer::start().expect("a server");
    for i in 0..250 {
        api.put("pods", pod("many", &format!("p{i}"), NODE, &format!("10.0.0.{i}")));
    }
    let kubeconfig = api.kubeconfig();
    let mut timeouts = short_timeouts();
    timeouts.limits.max_list_bytes = 50_000;
    let fixture = Fixture::with(api, &kubeconfig, Some(1_000), timeouts);
    fixture.wait_until("listed", |it| it.cache().pods.len() == 250).await;
    fixture.wait_until("all addresses", |it| it.cache().names.as_ref().is_some_and(|names| names.len() == 250)).await;
    let lists = |own: bool| {
        let requests = fixture.api.requests().into_iter().filter(move |request| {
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

/// The next watch starts at the version of the last bookmark.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_resumes_from_a_bookmark() {
    let fixture = Fixture::with_one_pod();
    fixture.in_sync().await;
    assert!(fixture.api.wait_for_watches(1));
    for i in 0..10 {
        fixture.api.put("pods", pod("shop", &format!("elsewhere-{i}"), "node-b", "10.0.1.1"));
    }
    fixture.api.bookmark();
    let versions = |requests: &[crate::apiserver::Request]| -> Vec<u64> {
        let watches = requests.iter().filter(|request| request.is_watch());
        watches.filter_map(|request| request.value("resourceVersion")?.parse().ok()).collect()
    };
    assert_eq!(versions(&fixture.api.requests()), [2]);
    fixture.api.set_behavior(Behavior::Normal);
    let resumed = |it: &Fixture| versions(&it.api.requests()).get(1) == Some(&13);
    fixture.wait_until("resumed from the bookmark", resumed).await;
    let lists = fixture.api.requests().iter().filter(|request| !request.is_watch()).count();
    assert_eq!(lists, 1, "no second list; {:?}", fixture.cache().health.errors());
}
