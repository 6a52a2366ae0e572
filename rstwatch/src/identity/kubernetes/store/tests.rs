use serde_json::{Value, json};

use super::*;

/// A clock that is set, and a store.
struct Stage {
    store: Arc<Store>,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        Self { store: Arc::default(), now: Instant::now() }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.store.expire(self.now);
    }

    fn apply(&mut self, pod: &Value) {
        self.store.apply(seen(pod), self.now);
    }

    fn delete(&mut self, pod: &Value) {
        self.store.delete(seen(pod), self.now);
    }

    fn list(&mut self, pods: &[Value]) {
        self.store.begin();
        pods.iter().for_each(|pod| self.apply(pod));
        self.store.complete(self.now);
    }

    fn by_uid(&self, uid: &str) -> String {
        shown(self.store.find(Some(uid), None))
    }

    fn by_container(&self, id: &str) -> String {
        shown(self.store.find(None, Some(id)))
    }
}

fn seen(pod: &Value) -> Seen {
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
    let mut stage = Stage::new();
    stage.apply(&pod("a", &["c1", "c2"]));
    assert_eq!([stage.by_uid("uid-a"), stage.by_container("c2")], ["a", "a"]);
    assert_eq!([stage.by_uid("uid-b"), stage.by_container("c3"), stage.by_uid("")], ["unknown"; 3]);
    assert_eq!(shown(stage.store.find(Some("other"), Some("c1"))), "a", "the container where the uid is not known");
    assert_eq!(shown(stage.store.find(None, None)), "unknown");
}

#[test]
fn static_pods_are_found_by_the_hash_of_their_manifest() {
    let mut stage = Stage::new();
    stage.apply(&mirror("etcd-node-a", HASH));
    assert_eq!([stage.by_uid(HASH), stage.by_uid("uid-etcd-node-a")], ["etcd-node-a"; 2]);
    stage.apply(&mirror("etcd-node-a", NEXT_HASH));
    assert_eq!([stage.by_uid(HASH), stage.by_uid(NEXT_HASH)], ["unknown", "etcd-node-a"]);
}

#[test]
fn a_hash_stays_with_the_pod_that_lives() {
    let mut stage = Stage::new();
    let (etcd, tenant) = (mirror("etcd-node-a", HASH), mirror("tenant", HASH));
    stage.apply(&etcd);
    stage.apply(&tenant);
    assert_eq!(stage.by_uid(HASH), "etcd-node-a");
    stage.apply(&mirror("tenant", NEXT_HASH));
    stage.delete(&tenant);
    stage.pass(300);
    assert_eq!(stage.by_uid(HASH), "etcd-node-a", "whatever becomes of the other");
    stage.delete(&etcd);
    stage.apply(&mirror("heir", HASH));
    assert_eq!(stage.by_uid(HASH), "heir", "who had it is gone");
}

/// The kubelet makes a mirror anew where somebody deletes it; a list may tell of the new one before the end of the old.
#[test]
fn a_mirror_made_anew_has_the_hash() {
    let mut stage = Stage::new();
    let mut etcd = mirror("etcd-node-a", HASH);
    stage.list(&[etcd.clone()]);
    etcd["metadata"]["uid"] = "uid-new".into();
    stage.list(&[etcd]);
    stage.pass(300);
    assert_eq!([stage.by_uid(HASH), stage.by_uid("uid-etcd-node-a")], ["etcd-node-a", "unknown"]);
}

#[test]
fn who_opts_out_is_not_named() {
    let mut stage = Stage::new();
    let mut quiet = pod("a", &["c1"]);
    quiet["metadata"]["annotations"]["rstwatch.dev/ignore-names"] = "true".into();
    stage.apply(&quiet);
    assert_eq!([stage.by_uid("uid-a"), stage.by_container("c1")], ["opted out"; 2]);
    stage.apply(&pod("a", &["c1"]));
    assert_eq!(stage.by_uid("uid-a"), "a");
}

#[test]
fn what_is_gone_resolves_for_five_minutes() {
    let mut stage = Stage::new();
    let a = pod("a", &["c1"]);
    stage.apply(&a);
    stage.delete(&a);
    assert_eq!(stage.store.len(), 0);
    stage.pass(299);
    assert_eq!([stage.by_uid("uid-a"), stage.by_container("c1")], ["a"; 2]);
    stage.pass(1);
    assert_eq!([stage.by_uid("uid-a"), stage.by_container("c1")], ["unknown"; 2]);
    assert_eq!(stage.store.sizes(), [0; 3]);
}

#[test]
fn who_comes_back_stays() {
    let mut stage = Stage::new();
    let a = pod("a", &["c1"]);
    stage.apply(&a);
    stage.delete(&a);
    stage.pass(200);
    stage.apply(&a);
    stage.pass(200);
    assert_eq!((stage.by_uid("uid-a"), stage.store.len()), ("a".to_owned(), 1));
    stage.delete(&a);
    stage.delete(&a);
    stage.pass(299);
    assert_eq!((stage.by_container("c1"), stage.store.len()), ("a".to_owned(), 0));
    stage.pass(1);
    assert_eq!(stage.store.sizes(), [0; 3]);
}

#[test]
fn containers_that_were_replaced_resolve_for_five_minutes() {
    let mut stage = Stage::new();
    stage.apply(&pod("a", &["c1"]));
    stage.pass(10);
    stage.apply(&pod("a", &["c2"]));
    stage.pass(200);
    stage.apply(&pod("a", &["c3"]));
    assert_eq!(["c1", "c2", "c3"].map(|id| stage.by_container(id)), ["a"; 3]);
    let Lookup::Pod(found) = stage.store.find(None, Some("c1")) else { panic!("known") };
    assert!(found.containers.iter().any(|(id, name)| &**id == "c1" && &**name == "main"), "with its name");
    stage.pass(100);
    assert_eq!(["c1", "c2", "c3"].map(|id| stage.by_container(id)), ["unknown", "a", "a"]);
    stage.pass(300);
    assert_eq!(["c1", "c2", "c3"].map(|id| stage.by_container(id)), ["unknown", "unknown", "a"]);
    assert_eq!(stage.store.sizes(), [1, 1, 0]);
}

#[test]
fn a_container_in_a_crash_loop_takes_bounded_room() {
    let mut stage = Stage::new();
    for i in 0..10_000 {
        stage.apply(&pod("a", &[&format!("c{i}")]));
    }
    let [pods, also, gone] = stage.store.sizes();
    assert!(pods == 1 && also <= 1 + MOST_REPLACED && gone <= MOST_GONE, "{:?}", stage.store.sizes());
    assert_eq!(stage.by_container("c9999"), "a");
    stage.pass(300);
    assert_eq!(stage.store.sizes(), [1, 1, 0]);
}

#[test]
fn a_list_ends_what_is_not_in_it_and_a_half_one_ends_nothing() {
    let mut stage = Stage::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| pod(name, &[]));
    stage.list(&[a.clone(), b.clone()]);
    stage.store.begin();
    stage.apply(&c);
    // The connection broke; another list begins.
    assert_eq!((stage.store.len(), stage.by_uid("uid-a")), (3, "a".to_owned()));
    stage.list(&[b]);
    assert_eq!(stage.store.len(), 1);
    assert_eq!(["uid-a", "uid-b", "uid-c"].map(|uid| stage.by_uid(uid)), ["a", "b", "c"], "they resolve for a while");
    stage.pass(300);
    assert_eq!(["uid-a", "uid-b", "uid-c"].map(|uid| stage.by_uid(uid)), ["unknown", "b", "unknown"]);
}

#[test]
fn a_new_pod_of_an_old_name_or_container_is_another() {
    let mut stage = Stage::new();
    let mut old = pod("db-0", &["c1"]);
    stage.apply(&old);
    stage.delete(&old);
    old["metadata"]["uid"] = "uid-new".into();
    stage.apply(&old);
    stage.pass(300);
    assert_eq!((stage.by_uid("uid-db-0"), stage.by_container("c1")), ("unknown".to_owned(), "db-0".to_owned()));
}

#[test]
fn beyond_the_limit_nobody_is_forgotten_and_it_is_counted() {
    let mut stage = Stage::new();
    for i in 0..MOST_PODS + 10 {
        stage.apply(&json!({"metadata": {"name": "p", "uid": format!("u{i}")}}));
    }
    assert_eq!((stage.store.len(), stage.store.refused()), (MOST_PODS, 10));
    assert_eq!(stage.by_uid("u0"), "p");
    stage.delete(&json!({"metadata": {"name": "p", "uid": "u0"}}));
    stage.apply(&json!({"metadata": {"name": "late", "uid": "late"}}));
    assert_eq!(stage.by_uid("late"), "late");
}

/// 100,000 pods come and go within the five minutes: the oldest that are gone give way.
#[test]
fn churn_takes_bounded_room() {
    let mut stage = Stage::new();
    for i in 0..100_000 {
        let churned = pod(&format!("p{i}"), &[&format!("c{i}")]);
        stage.apply(&churned);
        stage.delete(&churned);
    }
    assert_eq!(stage.store.sizes(), [MOST_GONE; 3]);
    stage.pass(300);
    assert_eq!(stage.store.sizes(), [0; 3]);
}

#[test]
fn who_asks_does_not_wait_for_a_panic_of_another() {
    let stage = Stage::new();
    let store = Arc::clone(&stage.store);
    _ = std::thread::spawn(move || {
        let _guard = store.write();
        std::panic::resume_unwind(Box::new(()));
    })
    .join();
    assert_eq!(stage.by_uid("u"), "unknown");
}
