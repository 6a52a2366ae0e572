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
