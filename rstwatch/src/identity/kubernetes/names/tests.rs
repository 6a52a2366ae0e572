use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::identity::kubernetes::directory::{Addressed, Directory};
use crate::identity::kubernetes::object::{Node, Service};
use crate::identity::kubernetes::pod::WatchedPod;
use crate::identity::kubernetes::watch::Sink;

struct Fixture {
    names: Arc<Names>,
    now: Instant,
}

impl Fixture {
    fn new(limit: usize) -> Self {
        Self { names: Arc::new(Names::new(limit)), now: Instant::now() }
    }

    fn apply<T: Addressed + DeserializeOwned>(&self, object: &Value) {
        Directory::<T>::new(&self.names).apply(read(object), self.now);
    }

    fn delete<T: Addressed + DeserializeOwned>(&self, object: &Value) {
        Directory::<T>::new(&self.names).delete(read(object), self.now);
    }

    fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        Directory::<WatchedPod>::new(&self.names).expire(self.now);
    }

    fn name(&self, address: &str) -> Option<String> {
        let name = self.names.find(address.parse().expect("an address"))?;
        let namespace = name.namespace.as_ref().map_or(String::new(), |namespace| format!("{namespace}/"));
        Some(format!("{} {namespace}{}", name.kind.as_str(), name.name))
    }
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_str(&object.to_string()).expect("an object")
}

fn pod(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")}, "status": {"podIP": address}})
}

fn service(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")}, "spec": {"clusterIP": address}})
}

fn node(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "status": {"addresses": [{"address": address}]}})
}

#[test]
fn pods_services_and_nodes_are_found_by_address() {
    let fixture = Fixture::new(100);
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<Service>(&service("db", "10.96.0.9"));
    fixture.apply::<Node>(&node("node-a", "192.168.0.1"));
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/a"));
    assert_eq!(fixture.name("::ffff:10.0.0.1").as_deref(), Some("pod shop/a"));
    assert_eq!(fixture.name("10.96.0.9").as_deref(), Some("service shop/db"));
    assert_eq!(fixture.name("192.168.0.1").as_deref(), Some("node node-a"));
    assert_eq!(fixture.name("10.0.0.2"), None);
}

#[test]
fn pods_with_host_network_do_not_take_the_nodes_name() {
    let fixture = Fixture::new(100);
    fixture.apply::<Node>(&node("node-a", "192.168.0.1"));
    let mut hosted = pod("proxy", "192.168.0.1");
    hosted["spec"]["hostNetwork"] = true.into();
    fixture.apply::<WatchedPod>(&hosted);
    fixture.delete::<WatchedPod>(&hosted);
    assert_eq!(fixture.name("192.168.0.1").as_deref(), Some("node node-a"));
}

#[test]
fn addresses_are_reused() {
    let mut fixture = Fixture::new(100);
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.delete::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.advance(299);
    assert_eq!(
        fixture.name("10.0.0.1").as_deref(),
        Some("pod shop/a"),
        "for five minutes, unless another object takes it"
    );
    fixture.apply::<WatchedPod>(&pod("b", "10.0.0.1"));
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/b"));
    fixture.advance(300);
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/b"));
    // The deletion of the old holder may be reported after the new one.
    fixture.apply::<WatchedPod>(&pod("c", "10.0.0.1"));
    fixture.delete::<WatchedPod>(&pod("b", "10.0.0.1"));
    fixture.advance(300);
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/c"));
    fixture.delete::<WatchedPod>(&pod("c", "10.0.0.1"));
    fixture.advance(300);
    assert_eq!((fixture.name("10.0.0.1"), fixture.names.len()), (None, 0));
}

/// Users may give a service any address, and a load balancer may have those of its nodes.
#[test]
fn a_service_takes_no_address_of_an_existing_object() {
    let mut fixture = Fixture::new(100);
    let mut greedy = service("greedy", "10.96.0.9");
    greedy["spec"]["externalIPs"] = json!(["10.0.0.1", "192.168.0.1", "10.96.0.10"]);
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<Service>(&service("db", "10.96.0.10"));
    fixture.apply::<Service>(&greedy);
    fixture.apply::<Node>(&node("node-a", "192.168.0.1"));
    fixture.apply::<Service>(&greedy);
    let expected = ["pod shop/a", "service shop/db", "node node-a", "service shop/greedy"];
    let addresses = ["10.0.0.1", "10.96.0.10", "192.168.0.1", "10.96.0.9"];
    assert_eq!(addresses.map(|address| fixture.name(address).unwrap_or_default()), expected);
    fixture.delete::<WatchedPod>(&pod("a", "10.0.0.1"));
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("service shop/greedy"), "once it is released");
    fixture.delete::<Service>(&greedy);
    fixture.delete::<Node>(&node("node-a", "192.168.0.1"));
    fixture.advance(300);
    assert_eq!(addresses.map(|address| fixture.name(address).unwrap_or_default()), ["", "service shop/db", "", ""]);
    fixture.delete::<Service>(&service("db", "10.96.0.10"));
    fixture.advance(300);
    assert!(fixture.names.is_empty() && fixture.names.read().successors.is_empty());
}

#[test]
fn a_late_event_of_the_old_holder_takes_nothing() {
    let fixture = Fixture::new(100);
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<WatchedPod>(&pod("b", "10.0.0.1"));
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/b"));
    fixture.delete::<WatchedPod>(&pod("b", "10.0.0.1"));
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/a"), "the existing object takes over");
}

/// While a list is read, the new service is applied before it is known that the list lacks the old one.
#[test]
fn an_address_goes_to_the_next_service_of_a_list() {
    let fixture = Fixture::new(100);
    fixture.apply::<Service>(&service("old", "10.96.0.9"));
    let mut services = Directory::<Service>::new(&fixture.names);
    services.begin_list();
    services.apply(read(&service("new", "10.96.0.9")), fixture.now);
    assert_eq!(fixture.name("10.96.0.9").as_deref(), Some("service shop/old"));
    services.complete_list(fixture.now);
    assert_eq!(fixture.name("10.96.0.9").as_deref(), Some("service shop/new"));
}

#[test]
fn an_opted_out_object_loses_its_name() {
    let fixture = Fixture::new(100);
    let opted_out = |mut object: Value| {
        object["metadata"]["annotations"]["rstwatch.dev/ignore-names"] = "true".into();
        object
    };
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<WatchedPod>(&opted_out(pod("a", "10.0.0.1")));
    fixture.apply::<Service>(&service("db", "10.96.0.9"));
    fixture.apply::<Service>(&opted_out(service("db", "10.96.0.9")));
    fixture.apply::<Node>(&node("node-a", "192.168.0.1"));
    fixture.apply::<Node>(&opted_out(node("node-a", "192.168.0.1")));
    assert_eq!(["10.0.0.1", "10.96.0.9", "192.168.0.1"].map(|address| fixture.name(address)), [None, None, None]);
    assert_eq!((fixture.names.len(), fixture.names.read().objects.len()), (0, 0));
    fixture.apply::<WatchedPod>(&pod("b", "10.0.0.2"));
    fixture.delete::<WatchedPod>(&pod("b", "10.0.0.2"));
    fixture.apply::<WatchedPod>(&opted_out(pod("c", "10.0.0.2")));
    assert_eq!(fixture.name("10.0.0.2"), None, "the former holder's name is removed too");
    fixture.apply::<WatchedPod>(&pod("d", "10.0.0.3"));
    fixture.apply::<Service>(&opted_out(service("other", "10.0.0.3")));
    assert_eq!(fixture.name("10.0.0.3").as_deref(), Some("pod shop/d"), "an existing object keeps its name");
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/a"), "and back");
}

#[test]
fn a_finished_pod_releases_its_address() {
    let mut fixture = Fixture::new(100);
    let mut job = pod("job", "10.0.0.1");
    fixture.apply::<WatchedPod>(&job);
    job["status"]["phase"] = "Succeeded".into();
    fixture.apply::<WatchedPod>(&job);
    assert_eq!(fixture.name("10.0.0.1").as_deref(), Some("pod shop/job"));
    fixture.advance(300);
    assert_eq!(fixture.name("10.0.0.1"), None);
}

#[test]
fn a_list_deletes_only_its_own_kind() {
    let mut fixture = Fixture::new(100);
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<Service>(&service("db", "10.96.0.9"));
    let mut pods = Directory::<WatchedPod>::new(&fixture.names);
    pods.begin_list();
    pods.apply(read(&pod("b", "10.0.0.2")), fixture.now);
    pods.complete_list(fixture.now);
    assert_eq!(pods.count(), 1);
    fixture.advance(300);
    assert_eq!((fixture.name("10.0.0.1"), fixture.name("10.0.0.2").as_deref()), (None, Some("pod shop/b")));
    assert_eq!(fixture.name("10.96.0.9").as_deref(), Some("service shop/db"));
}

#[test]
fn beyond_the_limit_released_addresses_are_evicted_first() {
    let fixture = Fixture::new(2);
    fixture.apply::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<WatchedPod>(&pod("b", "10.0.0.2"));
    fixture.apply::<WatchedPod>(&pod("c", "10.0.0.3"));
    assert_eq!((fixture.name("10.0.0.3"), fixture.names.refused()), (None, 1));
    fixture.delete::<WatchedPod>(&pod("a", "10.0.0.1"));
    fixture.apply::<WatchedPod>(&pod("c", "10.0.0.3"));
    assert_eq!((fixture.name("10.0.0.1"), fixture.name("10.0.0.3").as_deref()), (None, Some("pod shop/c")));
}

#[test]
fn churn_is_bounded() {
    let mut fixture = Fixture::new(1_000);
    for i in 0..100_000_u32 {
        // Half of the pods share one address, the others have one each.
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + if i % 2 == 0 { i } else { 1 });
        let churned = pod(&format!("p{i}"), &address.to_string());
        fixture.apply::<WatchedPod>(&churned);
        fixture.delete::<WatchedPod>(&churned);
    }
    let sizes = |fixture: &Fixture| {
        let known = fixture.names.read();
        [known.by_address.len(), known.objects.len(), known.released.len()]
    };
    assert!(sizes(&fixture).iter().all(|size| *size <= 1_000), "{:?}", sizes(&fixture));
    fixture.advance(300);
    assert_eq!(sizes(&fixture), [0; 3]);
}
