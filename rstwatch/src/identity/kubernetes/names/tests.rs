use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

struct Stage {
    names: Arc<Names>,
    now: Instant,
}

impl Stage {
    fn new(limit: usize) -> Self {
        Self { names: Arc::new(Names::new(limit)), now: Instant::now() }
    }

    fn apply<T: Addressed + DeserializeOwned>(&self, object: &Value) {
        Directory::<T>::new(&self.names).apply(read(object), self.now);
    }

    fn delete<T: Addressed + DeserializeOwned>(&self, object: &Value) {
        Directory::<T>::new(&self.names).delete(read(object), self.now);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        Directory::<Seen>::new(&self.names).expire(self.now);
    }

    fn who(&self, address: &str) -> Option<String> {
        let who = self.names.find(address.parse().expect("an address"))?;
        let namespace = who.namespace.as_ref().map_or(String::new(), |namespace| format!("{namespace}/"));
        Some(format!("{} {namespace}{}", who.kind.as_str(), who.name))
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
fn everyone_is_found_by_address() {
    let stage = Stage::new(100);
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Service>(&service("db", "10.96.0.9"));
    stage.apply::<Node>(&node("node-a", "192.168.0.1"));
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/a"));
    assert_eq!(stage.who("::ffff:10.0.0.1").as_deref(), Some("pod shop/a"));
    assert_eq!(stage.who("10.96.0.9").as_deref(), Some("service shop/db"));
    assert_eq!(stage.who("192.168.0.1").as_deref(), Some("node node-a"));
    assert_eq!(stage.who("10.0.0.2"), None);
}

#[test]
fn pods_in_their_nodes_network_do_not_take_its_name() {
    let stage = Stage::new(100);
    stage.apply::<Node>(&node("node-a", "192.168.0.1"));
    let mut hosted = pod("proxy", "192.168.0.1");
    hosted["spec"]["hostNetwork"] = true.into();
    stage.apply::<Seen>(&hosted);
    stage.delete::<Seen>(&hosted);
    assert_eq!(stage.who("192.168.0.1").as_deref(), Some("node node-a"));
}

#[test]
fn addresses_change_hands() {
    let mut stage = Stage::new(100);
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.delete::<Seen>(&pod("a", "10.0.0.1"));
    stage.pass(299);
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/a"), "for five minutes, while nobody takes it");
    stage.apply::<Seen>(&pod("b", "10.0.0.1"));
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/b"));
    stage.pass(300);
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/b"));
    // The news of the old holder's end may come after that of the new one.
    stage.apply::<Seen>(&pod("c", "10.0.0.1"));
    stage.delete::<Seen>(&pod("b", "10.0.0.1"));
    stage.pass(300);
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/c"));
    stage.delete::<Seen>(&pod("c", "10.0.0.1"));
    stage.pass(300);
    assert_eq!((stage.who("10.0.0.1"), stage.names.len()), (None, 0));
}

/// Anybody may give a service any address, and a load balancer's may be its nodes'.
#[test]
fn a_service_takes_no_address_of_who_lives() {
    let mut stage = Stage::new(100);
    let mut greedy = service("greedy", "10.96.0.9");
    greedy["spec"]["externalIPs"] = json!(["10.0.0.1", "192.168.0.1", "10.96.0.10"]);
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Service>(&service("db", "10.96.0.10"));
    stage.apply::<Service>(&greedy);
    stage.apply::<Node>(&node("node-a", "192.168.0.1"));
    stage.apply::<Service>(&greedy);
    let expected = ["pod shop/a", "service shop/db", "node node-a", "service shop/greedy"];
    let addresses = ["10.0.0.1", "10.96.0.10", "192.168.0.1", "10.96.0.9"];
    assert_eq!(addresses.map(|address| stage.who(address).unwrap_or_default()), expected);
    stage.delete::<Seen>(&pod("a", "10.0.0.1"));
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("service shop/greedy"), "when it is free");
    stage.delete::<Service>(&greedy);
    stage.delete::<Node>(&node("node-a", "192.168.0.1"));
    stage.pass(300);
    assert_eq!(addresses.map(|address| stage.who(address).unwrap_or_default()), ["", "service shop/db", "", ""]);
    stage.delete::<Service>(&service("db", "10.96.0.10"));
    stage.pass(300);
    assert!(stage.names.is_empty() && stage.names.read().waiting.is_empty());
}

#[test]
fn a_late_word_of_the_old_holder_takes_nothing() {
    let stage = Stage::new(100);
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Seen>(&pod("b", "10.0.0.1"));
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/b"));
    stage.delete::<Seen>(&pod("b", "10.0.0.1"));
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/a"), "who lives gets it");
}

/// A list tells of the new one before it is known that the old one is not in it.
#[test]
fn an_address_goes_to_the_next_service_of_a_list() {
    let stage = Stage::new(100);
    stage.apply::<Service>(&service("old", "10.96.0.9"));
    let mut services = Directory::<Service>::new(&stage.names);
    services.begin();
    services.apply(read(&service("new", "10.96.0.9")), stage.now);
    assert_eq!(stage.who("10.96.0.9").as_deref(), Some("service shop/old"));
    services.complete(stage.now);
    assert_eq!(stage.who("10.96.0.9").as_deref(), Some("service shop/new"));
}

#[test]
fn who_opts_out_is_not_named_from_then_on() {
    let stage = Stage::new(100);
    let quiet = |mut object: Value| {
        object["metadata"]["annotations"]["rstwatch.dev/ignore-names"] = "true".into();
        object
    };
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Seen>(&quiet(pod("a", "10.0.0.1")));
    stage.apply::<Service>(&service("db", "10.96.0.9"));
    stage.apply::<Service>(&quiet(service("db", "10.96.0.9")));
    stage.apply::<Node>(&node("node-a", "192.168.0.1"));
    stage.apply::<Node>(&quiet(node("node-a", "192.168.0.1")));
    assert_eq!(["10.0.0.1", "10.96.0.9", "192.168.0.1"].map(|address| stage.who(address)), [None, None, None]);
    assert_eq!((stage.names.len(), stage.names.read().objects.len()), (0, 0));
    stage.apply::<Seen>(&pod("b", "10.0.0.2"));
    stage.delete::<Seen>(&pod("b", "10.0.0.2"));
    stage.apply::<Seen>(&quiet(pod("c", "10.0.0.2")));
    assert_eq!(stage.who("10.0.0.2"), None, "it is no longer the one before's");
    stage.apply::<Seen>(&pod("d", "10.0.0.3"));
    stage.apply::<Service>(&quiet(service("other", "10.0.0.3")));
    assert_eq!(stage.who("10.0.0.3").as_deref(), Some("pod shop/d"), "who lives keeps its name");
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/a"), "and back");
}

#[test]
fn a_pod_that_has_finished_leaves_its_address() {
    let mut stage = Stage::new(100);
    let mut job = pod("job", "10.0.0.1");
    stage.apply::<Seen>(&job);
    job["status"]["phase"] = "Succeeded".into();
    stage.apply::<Seen>(&job);
    assert_eq!(stage.who("10.0.0.1").as_deref(), Some("pod shop/job"));
    stage.pass(300);
    assert_eq!(stage.who("10.0.0.1"), None);
}

#[test]
fn a_list_ends_its_own_kind_only() {
    let mut stage = Stage::new(100);
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Service>(&service("db", "10.96.0.9"));
    let mut pods = Directory::<Seen>::new(&stage.names);
    pods.begin();
    pods.apply(read(&pod("b", "10.0.0.2")), stage.now);
    pods.complete(stage.now);
    assert_eq!(pods.held(), 1);
    stage.pass(300);
    assert_eq!((stage.who("10.0.0.1"), stage.who("10.0.0.2").as_deref()), (None, Some("pod shop/b")));
    assert_eq!(stage.who("10.96.0.9").as_deref(), Some("service shop/db"));
}

#[test]
fn beyond_the_limit_the_dead_give_way_first() {
    let stage = Stage::new(2);
    stage.apply::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Seen>(&pod("b", "10.0.0.2"));
    stage.apply::<Seen>(&pod("c", "10.0.0.3"));
    assert_eq!((stage.who("10.0.0.3"), stage.names.refused()), (None, 1));
    stage.delete::<Seen>(&pod("a", "10.0.0.1"));
    stage.apply::<Seen>(&pod("c", "10.0.0.3"));
    assert_eq!((stage.who("10.0.0.1"), stage.who("10.0.0.3").as_deref()), (None, Some("pod shop/c")));
}

#[test]
fn churn_takes_bounded_room() {
    let mut stage = Stage::new(1_000);
    for i in 0..100_000_u32 {
        // Some addresses are taken again at once, others never.
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + if i % 2 == 0 { i } else { 1 });
        let churned = pod(&format!("p{i}"), &address.to_string());
        stage.apply::<Seen>(&churned);
        stage.delete::<Seen>(&churned);
    }
    let sizes = |stage: &Stage| {
        let known = stage.names.read();
        [known.by_address.len(), known.objects.len(), known.gone.len()]
    };
    assert!(sizes(&stage).iter().all(|size| *size <= 1_000), "{:?}", sizes(&stage));
    stage.pass(300);
    assert_eq!(sizes(&stage), [0; 3]);
}
