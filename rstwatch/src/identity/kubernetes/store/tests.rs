use serde_json::{Value, json};

use super::*;

/// A store and its clock.
struct Fixture {
    store: Arc<PodStore>,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self { store: Arc::default(), now: Instant::now() }
    }

    fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.store.expire(self.now);
    }

    fn apply(&mut self, pod: &Value) {
        self.store.apply(watched(pod), self.now);
    }

    fn delete(&mut self, pod: &Value) {
        self.store.delete(watched(pod), self.now);
    }

    fn list(&mut self, pods: &[Value]) {
        self.store.begin_list();
        pods.iter().for_each(|pod| self.apply(pod));
        self.store.complete_list(self.now);
    }

    fn by_uid(&self, uid: &str) -> String {
        shown(self.store.find(Some(uid), None))
    }

    fn by_container(&self, id: &str) -> String {
        shown(self.store.find(None, Some(id)))
    }
}

fn watched(pod: &Value) -> WatchedPod {
    serde_json::from_str(&pod.to_string()).expect("a pod")
}

fn shown(lookup: Lookup) -> String {
    match lookup {
        Lookup::Pod(pod) => pod.name.to_string(),
        Lookup::OptedOut => "opted out".to_owned(),
        Lookup::Unknown => "unknown".to_owned(),
    }
}

fn pod(name: &str, containers: &[&str]) -> Value {
    let containers: Vec<_> =
        containers.iter().map(|id| json!({"name": "main", "containerID": format!("containerd://{id}")})).collect();
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "status": {"containerStatuses": containers},
    })
}

const HASH: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const NEXT_HASH: &str = "1a1b2c3d4e5f60718293a4b5c6d7e8f9";

fn mirror(name: &str, hash: &str) -> Value {
    let mut mirror = pod(name, &[]);
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = hash.into();
    mirror
}

#[test]
fn pods_are_found_by_uid_and_by_container() {
    let mut fixture = Fixture::new();
    fixture.apply(&pod("a", &["c1", "c2"]));
    assert_eq!([fixture.by_uid("uid-a"), fixture.by_container("c2")], ["a", "a"]);
    assert_eq!([fixture.by_uid("uid-b"), fixture.by_container("c3"), fixture.by_uid("")], ["unknown"; 3]);
    assert_eq!(shown(fixture.store.find(Some("other"), Some("c1"))), "a", "the container where the uid is not known");
    assert_eq!(shown(fixture.store.find(None, None)), "unknown");
}

#[test]
fn static_pods_are_found_by_the_hash_of_their_manifest() {
    let mut fixture = Fixture::new();
    fixture.apply(&mirror("etcd-node-a", HASH));
    assert_eq!([fixture.by_uid(HASH), fixture.by_uid("uid-etcd-node-a")], ["etcd-node-a"; 2]);
    fixture.apply(&mirror("etcd-node-a", NEXT_HASH));
    assert_eq!([fixture.by_uid(HASH), fixture.by_uid(NEXT_HASH)], ["unknown", "etcd-node-a"]);
}

#[test]
fn a_hash_stays_with_the_existing_pod() {
    let mut fixture = Fixture::new();
    let (etcd, tenant) = (mirror("etcd-node-a", HASH), mirror("tenant", HASH));
    fixture.apply(&etcd);
    fixture.apply(&tenant);
    assert_eq!(fixture.by_uid(HASH), "etcd-node-a");
    fixture.apply(&mirror("tenant", NEXT_HASH));
    fixture.delete(&tenant);
    fixture.advance(300);
    assert_eq!(fixture.by_uid(HASH), "etcd-node-a", "whatever becomes of the other");
    fixture.delete(&etcd);
    fixture.apply(&mirror("heir", HASH));
    assert_eq!(fixture.by_uid(HASH), "heir", "who had it is gone");
}

/// The kubelet recreates a deleted mirror pod; a list may contain the new one before the old one is known to be deleted.
#[test]
fn a_recreated_mirror_pod_has_the_hash() {
    let mut fixture = Fixture::new();
    let mut etcd = mirror("etcd-node-a", HASH);
    fixture.list(&[etcd.clone()]);
    etcd["metadata"]["uid"] = "uid-new".into();
    fixture.list(&[etcd]);
    fixture.advance(300);
    assert_eq!([fixture.by_uid(HASH), fixture.by_uid("uid-etcd-node-a")], ["etcd-node-a", "unknown"]);
}

#[test]
fn an_opted_out_pod_is_not_named() {
    let mut fixture = Fixture::new();
    let mut quiet = pod("a", &["c1"]);
    quiet["metadata"]["annotations"]["rstwatch.dev/ignore-names"] = "true".into();
    fixture.apply(&quiet);
    assert_eq!([fixture.by_uid("uid-a"), fixture.by_container("c1")], ["opted out"; 2]);
    fixture.apply(&pod("a", &["c1"]));
    assert_eq!(fixture.by_uid("uid-a"), "a");
}

#[test]
fn deleted_pods_resolve_for_five_minutes() {
    let mut fixture = Fixture::new();
    let a = pod("a", &["c1"]);
    fixture.apply(&a);
    fixture.delete(&a);
    assert_eq!(fixture.store.len(), 0);
    fixture.advance(299);
    assert_eq!([fixture.by_uid("uid-a"), fixture.by_container("c1")], ["a"; 2]);
    fixture.advance(1);
    assert_eq!([fixture.by_uid("uid-a"), fixture.by_container("c1")], ["unknown"; 2]);
    assert_eq!(fixture.store.sizes(), [0; 3]);
}

#[test]
fn a_pod_that_comes_back_stays() {
    let mut fixture = Fixture::new();
    let a = pod("a", &["c1"]);
    fixture.apply(&a);
    fixture.delete(&a);
    fixture.advance(200);
    fixture.apply(&a);
    fixture.advance(200);
    assert_eq!((fixture.by_uid("uid-a"), fixture.store.len()), ("a".to_owned(), 1));
    fixture.delete(&a);
    fixture.delete(&a);
    fixture.advance(299);
    assert_eq!((fixture.by_container("c1"), fixture.store.len()), ("a".to_owned(), 0));
    fixture.advance(1);
    assert_eq!(fixture.store.sizes(), [0; 3]);
}

#[test]
fn replaced_containers_resolve_for_five_minutes() {
    let mut fixture = Fixture::new();
    fixture.apply(&pod("a", &["c1"]));
    fixture.advance(10);
    fixture.apply(&pod("a", &["c2"]));
    fixture.advance(200);
    fixture.apply(&pod("a", &["c3"]));
    assert_eq!(["c1", "c2", "c3"].map(|id| fixture.by_container(id)), ["a"; 3]);
    let Lookup::Pod(found) = fixture.store.find(None, Some("c1")) else { panic!("known") };
    assert!(found.containers.iter().any(|(id, name)| &**id == "c1" && &**name == "main"), "with its name");
    fixture.advance(100);
    assert_eq!(["c1", "c2", "c3"].map(|id| fixture.by_container(id)), ["unknown", "a", "a"]);
    fixture.advance(300);
    assert_eq!(["c1", "c2", "c3"].map(|id| fixture.by_container(id)), ["unknown", "unknown", "a"]);
    assert_eq!(fixture.store.sizes(), [1, 1, 0]);
}

#[test]
fn a_crash_loop_is_bounded() {
    let mut fixture = Fixture::new();
    for i in 0..10_000 {
        fixture.apply(&pod("a", &[&format!("c{i}")]));
    }
    let [pods, also, gone] = fixture.store.sizes();
    assert!(pods == 1 && also <= 1 + MAX_REPLACED && gone <= MAX_DELETED, "{:?}", fixture.store.sizes());
    assert_eq!(fixture.by_container("c9999"), "a");
    fixture.advance(300);
    assert_eq!(fixture.store.sizes(), [1, 1, 0]);
}

#[test]
fn only_a_complete_list_deletes_what_it_lacks() {
    let mut fixture = Fixture::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| pod(name, &[]));
    fixture.list(&[a.clone(), b.clone()]);
    fixture.store.begin_list();
    fixture.apply(&c);
    // The connection was lost; another list starts.
    assert_eq!((fixture.store.len(), fixture.by_uid("uid-a")), (3, "a".to_owned()));
    fixture.list(&[b]);
    assert_eq!(fixture.store.len(), 1);
    assert_eq!(["uid-a", "uid-b", "uid-c"].map(|uid| fixture.by_uid(uid)), ["a", "b", "c"], "they resolve for a while");
    fixture.advance(300);
    assert_eq!(["uid-a", "uid-b", "uid-c"].map(|uid| fixture.by_uid(uid)), ["unknown", "b", "unknown"]);
}

#[test]
fn a_new_pod_with_an_old_name_or_container_is_distinct() {
    let mut fixture = Fixture::new();
    let mut old = pod("db-0", &["c1"]);
    fixture.apply(&old);
    fixture.delete(&old);
    old["metadata"]["uid"] = "uid-new".into();
    fixture.apply(&old);
    fixture.advance(300);
    assert_eq!((fixture.by_uid("uid-db-0"), fixture.by_container("c1")), ("unknown".to_owned(), "db-0".to_owned()));
}

#[test]
fn beyond_the_limit_new_pods_are_refused_and_counted() {
    let mut fixture = Fixture::new();
    for i in 0..MAX_PODS + 10 {
        fixture.apply(&json!({"metadata": {"name": "p", "uid": format!("u{i}")}}));
    }
    assert_eq!((fixture.store.len(), fixture.store.refused()), (MAX_PODS, 10));
    assert_eq!(fixture.by_uid("u0"), "p");
    fixture.delete(&json!({"metadata": {"name": "p", "uid": "u0"}}));
    fixture.apply(&json!({"metadata": {"name": "late", "uid": "late"}}));
    assert_eq!(fixture.by_uid("late"), "late");
}

/// 100,000 pods come and go within five minutes: the oldest deleted ones are evicted.
#[test]
fn churn_is_bounded() {
    let mut fixture = Fixture::new();
    for i in 0..100_000 {
        let churned = pod(&format!("p{i}"), &[&format!("c{i}")]);
        fixture.apply(&churned);
        fixture.delete(&churned);
    }
    assert_eq!(fixture.store.sizes(), [MAX_DELETED; 3]);
    fixture.advance(300);
    assert_eq!(fixture.store.sizes(), [0; 3]);
}

#[test]
fn a_panic_of_a_writer_does_not_block_readers() {
    let fixture = Fixture::new();
    let store = Arc::clone(&fixture.store);
    _ = std::thread::spawn(move || {
        let _guard = store.write();
        std::panic::resume_unwind(Box::new(()));
    })
    .join();
    assert_eq!(fixture.by_uid("u"), "unknown");
}
