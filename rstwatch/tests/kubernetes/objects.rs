//! Objects and what is made of them.

use std::time::Instant;

use rstwatch::identity::kubernetes::limits::ResponseLimits;
use rstwatch::identity::kubernetes::watch::WatchTimeouts;
use serde_json::{Value, json};

use crate::NODE;
use crate::agent::event;
use crate::apiserver::{ApiServer, pod};
use crate::fixture::{Fixture, short_timeouts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_objects_are_accepted() {
    let fixture = Fixture::with_one_pod();
    fixture.in_sync().await;
    assert!(fixture.api.wait_for_watches(1));
    let with = |value: Value| {
        let mut object = json!({"metadata": {"resourceVersion": "9", "uid": "odd", "name": "odd"}});
        object.as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
        object
    };
    for odd in [
        json!({"spec": 1, "status": "x"}),
        json!({"spec": {"nodeName": [], "hostNetwork": "yes"}}),
        json!({"status": {"podIPs": {"a": 1}, "containerStatuses": [1, null, {"name": {}}, [[]]]}}),
        json!({"metadata": {"resourceVersion": "9", "uid": "odd", "labels": 7, "ownerReferences": "x"}}),
        json!({"metadata": {"resourceVersion": "9", "uid": "x".repeat(10_000), "name": "\u{1b}[31m"}}),
    ] {
        fixture.api.send("pods", "RAW", json!({"type": "ADDED", "object": with(odd)}).to_string().into());
    }
    fixture.api.put("pods", pod("shop", "after", NODE, "10.0.0.5"));
    fixture.wait_until("taken", |it| it.name("uid-shop-after").is_some()).await;
    assert_eq!(fixture.cache().health.errors().iter().map(|(_, count)| count).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_ends_are_named_by_address() {
    let api = ApiServer::start().expect("a server");
    api.put("pods", pod("shop", "db-0", "node-b", "10.0.1.7"));
    api.put(
        "services",
        json!({"metadata": {"name": "db", "namespace": "shop", "uid": "s"}, "spec": {"clusterIP": "10.96.0.9"}}),
    );
    api.put(
        "nodes",
        json!({"metadata": {"name": "node-b", "uid": "n"}, "status": {"addresses": [{"address": "192.0.2.2"}]}}),
    );
    let kubeconfig = api.kubeconfig();
    let fixture = Fixture::new(api, &kubeconfig, Some(100));
    let name_of = |it: &Fixture, address: &str| {
        let names = it.cache().names.as_ref().expect("enabled");
        names.find(address.parse().expect("an address")).map(|name| format!("{} {}", name.kind.as_str(), name.name))
    };
    for (address, expected) in [("10.0.1.7", "pod db-0"), ("10.96.0.9", "service db"), ("192.0.2.2", "node node-b")] {
        fixture.wait_until(expected, |it| name_of(it, address).as_deref() == Some(expected)).await;
    }
    assert_eq!(fixture.name("uid-shop-db-0"), None, "a pod of another node cannot be an owner");
    let mut event = event();
    event.remote = "10.96.0.9:5432".parse().expect("an address");
    fixture.cache().name_remote(&mut event);
    let json = serde_json::to_value(&event).expect("JSON");
    assert_eq!(json["remote_workload"], json!({"kind": "service", "namespace": "shop", "name": "db"}));
    event.remote = "10.96.0.10:5432".parse().expect("an address");
    fixture.cache().name_remote(&mut event);
    assert_eq!(event.remote_workload, None);
    fixture.api.remove("pods", "shop/db-0");
    fixture.api.put("pods", pod("shop", "cache", "node-c", "10.0.1.7"));
    fixture.wait_until("the next holder", |it| name_of(it, "10.0.1.7").as_deref() == Some("pod cache")).await;
    let paths: std::collections::BTreeSet<_> = fixture.api.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), ["/api/v1/nodes", "/api/v1/pods", "/api/v1/services"]);
}

/// 10,000 pods are listed within seconds, and a thousand changes are followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pods_and_churn() {
    let api = ApiServer::start().expect("a server");
    for i in 0..10_000 {
        api.put("pods", pod("many", &format!("p{i}"), NODE, "10.0.0.1"));
    }
    let (kubeconfig, start) = (api.kubeconfig(), Instant::now());
    let fixture =
        Fixture::with(api, &kubeconfig, None, WatchTimeouts { limits: ResponseLimits::default(), ..short_timeouts() });
    fixture.wait_until("all listed", |it| it.cache().pods.len() == 10_000).await;
    println!("10,000 pods in sync after {:?}", start.elapsed());
    assert!(fixture.api.wait_for_watches(1));
    for i in 0..1_000 {
        fixture.api.remove("pods", &format!("many/p{i}"));
        fixture.api.put("pods", pod("new", &format!("n{i}"), NODE, "10.0.0.1"));
    }
    fixture.wait_until("the last one", |it| it.name("uid-new-n999").is_some()).await;
    assert_eq!((fixture.cache().pods.len(), fixture.name("uid-many-p0").as_deref()), (10_000, Some("many/p0")));
    assert_eq!(fixture.cache().pods.sizes()[0], 11_000);
}
