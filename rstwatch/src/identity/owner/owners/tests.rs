use std::collections::HashMap;

use super::*;
use crate::identity::owner::cache::CacheWriter;
use crate::identity::owner::path::parse;
use crate::identity::owner::pods::{Controller, Lookup, Pod};

const ID: &str = "1a2b3c4d5e6f48c0f51401c069cd2189f0e659af17d5a2daca3bddf59d8a870b";
const UID: &str = "b57320a0-e7eb-4ac8-a791-4c4472796867";

/// Pods by uid or container.
#[derive(Default)]
struct Fake(HashMap<&'static str, Lookup>);

impl Pods for Fake {
    fn find(&self, uid: Option<&str>, container: Option<&str>) -> Lookup {
        let found = uid.and_then(|uid| self.0.get(uid)).or_else(|| self.0.get(container?));
        found.cloned().unwrap_or(Lookup::Unknown)
    }
}

fn pod(controller: Option<(&str, &str)>) -> Lookup {
    Lookup::Pod(Arc::new(Pod {
        namespace: "shop".into(),
        name: "orders-7c9d-x".into(),
        controller: controller.map(|(kind, name)| Controller { kind: kind.into(), name: name.into() }),
        containers: vec![(ID.into(), "api".into())],
    }))
}

fn owners(paths: &[(u64, &str)], pods: Option<Fake>) -> Owners {
    let cache = Arc::new(Cache::default());
    let mut writer = CacheWriter::new(Arc::clone(&cache));
    paths.iter().for_each(|(id, path)| writer.insert_cgroup(*id, 0, parse(path)));
    Owners::with_cache(cache, pods.map(|pods| Arc::new(pods) as Arc<dyn Pods>)).expect("a descriptor")
}

fn in_cgroup(cgroup: u64) -> Identity {
    Identity { cgroup, ..Identity::default() }
}

fn nginx() -> Process {
    Process { pid: 12, comm: "nginx".into() }
}

/// Checks a path's workload, as JSON, and what it counts as.
#[track_caller]
fn check(path: &str, pods: Option<Fake>, json: &str, outcome: Outcome) {
    let (workload, counted) = owners(&[(7, path)], pods).name(&in_cgroup(7), Some(&nginx())).expect("known");
    assert_eq!((serde_json::to_string(&workload).expect("JSON").as_str(), counted), (json, outcome), "{path}");
}

fn in_pod() -> String {
    format!("/kubepods/burstable/pod{UID}/{ID}")
}

#[test]
fn without_kubernetes() {
    let container = format!(
        r#"{{"kind":"container","namespace":null,"name":"1a2b3c4d5e6f","container":"{ID}","controller":null}}"#
    );
    check(&in_pod(), None, &container, Outcome::Container);
    check(&format!("/docker/{ID}"), None, &container, Outcome::Container);
    let unit = r#"{"kind":"unit","namespace":null,"name":"nginx.service","container":null,"controller":null}"#;
    check("/system.slice/nginx.service", None, unit, Outcome::Unit);
    let process = r#"{"kind":"process","namespace":null,"name":"nginx","container":null,"controller":null}"#;
    check("/", None, process, Outcome::Process);
    check(&format!("/kubepods/pod{UID}"), None, process, Outcome::Process);
    let lxc = r#"{"kind":"container","namespace":null,"name":"web1","container":"web1","controller":null}"#;
    check("/lxc.payload.web1", None, lxc, Outcome::Container);
}

#[test]
fn with_kubernetes() {
    let fake = |found: Lookup| Some(Fake([(UID, found)].into()));
    let named = r#"{"kind":"pod","namespace":"shop","name":"orders-7c9d-x","container":"api","controller":{"kind":"Deployment","name":"orders"}}"#;
    check(&in_pod(), fake(pod(Some(("Deployment", "orders")))), named, Outcome::Pod);
    let bare = r#"{"kind":"pod","namespace":"shop","name":"orders-7c9d-x","container":null,"controller":null}"#;
    check(&format!("/kubepods/pod{UID}"), fake(pod(None)), bare, Outcome::Pod);
    let opted_out = r#"{"kind":"pod","namespace":null,"name":"_opted_out","container":null,"controller":null}"#;
    check(&in_pod(), fake(Lookup::OptedOut), opted_out, Outcome::Pod);
    // By its container alone, if the path does not contain the uid.
    let by_container = Some(Fake([(ID, pod(Some(("Deployment", "orders"))))].into()));
    check(&format!("/../cri-containerd-{ID}.scope"), by_container, named, Outcome::Pod);
    // The sandbox is not among the pod's containers.
    let sandbox = in_pod().replace("1a2b", "ffff");
    let (workload, _) = owners(&[(7, &sandbox)], fake(pod(None))).name_now(&in_cgroup(7), None);
    assert!(workload.and_then(|it| it.container).is_some_and(|id| id.starts_with("ffff3c4d5e6f")));
}

#[test]
fn a_pod_unknown_to_the_api_stays_a_container() {
    let container = format!(
        r#"{{"kind":"container","namespace":null,"name":"1a2b3c4d5e6f","container":"{ID}","controller":null}}"#
    );
    check(&in_pod(), Some(Fake::default()), &container, Outcome::Unresolved);
    check(&format!("/docker/{ID}"), Some(Fake::default()), &container, Outcome::Container);
    let process = r#"{"kind":"process","namespace":null,"name":"nginx","container":null,"controller":null}"#;
    check(&format!("/kubepods/pod{UID}"), Some(Fake::default()), process, Outcome::Unresolved);
}

#[test]
fn control_characters_in_names_are_escaped() {
    let hostile = Lookup::Pod(Arc::new(Pod {
        namespace: "a\x1b".into(),
        name: "b\u{202e}".into(),
        controller: Some(Controller { kind: "\x07".into(), name: "\n".into() }),
        containers: vec![(ID.into(), "\r".into())],
    }));
    let (workload, _) = owners(&[(7, &in_pod())], Some(Fake([(UID, hostile)].into()))).name_now(&in_cgroup(7), None);
    let text = format!("{:?}", workload.expect("named"));
    assert!(!text.contains(char::is_control) && !text.contains('\u{202e}'), "{text}");
    let (unit, _) = owners(&[(7, "/system.slice/\x1b[2J.service")], None).name_now(&in_cgroup(7), None);
    assert_eq!(unit.map(|it| it.name).as_deref(), Some("\\u{1b}[2J.service"));
}

#[test]
fn an_unknown_owner_is_shown_as_its_process() {
    let owners = owners(&[], None);
    let (workload, outcome) = owners.name(&in_cgroup(9), Some(&nginx())).expect("no lookup to wait for");
    assert_eq!((workload.map(|it| it.name).as_deref(), outcome), (Some("nginx"), Outcome::Unresolved));
    assert_eq!(owners.name_now(&in_cgroup(9), None).0, None, "no process, no name");
    let key = Identity { tgid: 5, ..in_cgroup(9) };
    assert_eq!(owners.name(&key, None), None);
    assert_eq!(owners.shared().take_requests(), [key], "requested once");
}

/// The worker on this host's own hierarchy resolves this process to something.
#[test]
fn the_worker_resolves_this_process() {
    let owners = Owners::start(None).expect("a thread");
    let stat = std::fs::read_to_string("/proc/self/stat").expect("read");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks: u64 = fields.split_ascii_whitespace().nth(19).expect("a start").parse().expect("a number");
    let key = Identity { tgid: std::process::id(), start_ns: ticks * 10_000_000, ..Identity::default() };
    assert_eq!(owners.name(&key, Some(&nginx())), None, "pending");
    owners.shared().wait_for(&[key], Duration::from_secs(20));
    let (workload, outcome) = owners.name(&key, Some(&nginx())).expect("resolved");
    assert!(workload.is_some() && outcome != Outcome::Unresolved, "{outcome:?}");
    let gone = Identity { tgid: u32::MAX >> 1, start_ns: 1, ..Identity::default() };
    owners.shared().wait_for(&[gone], Duration::from_secs(20));
    assert_eq!(owners.name(&gone, None), Some((None, Outcome::Unresolved)));
}

/// A `/proc` with these mounts and a process 42 that started five seconds after boot.
fn host(mounts: &str, cgroup: &str) -> (tempfile::TempDir, Owners) {
    let root = tempfile::tempdir().expect("a folder");
    for folder in ["self", "42"] {
        std::fs::create_dir(root.path().join(folder)).expect("made");
    }
    let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).expect("written");
    write("self/mountinfo", mounts);
    write("42/stat", "42 (nginx) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 500 1 2 3\n");
    write("42/cgroup", cgroup);
    let owners = Owners::start_at(root.path().to_owned(), None).expect("a thread");
    (root, owners)
}

fn of_42(owners: &Owners, cgroup: u64) -> (String, Outcome) {
    let key = Identity { cgroup, socket: 0, tgid: 42, start_ns: 5_000_000_000 };
    owners.shared().wait_for(&[key], Duration::from_secs(20));
    let (workload, outcome) = owners.name(&key, Some(&nginx())).expect("resolved");
    (workload.map(|it| it.name.to_string()).unwrap_or_default(), outcome)
}

const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

/// Without a mounted v2 hierarchy, every task is in its root, whose id is 1.
#[test]
fn with_cgroup_v1_alone() {
    let (_root, owners) = host(V1, &format!("4:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n"));
    assert_eq!(of_42(&owners, 1), ("1a2b3c4d5e6f".into(), Outcome::Container));
}

/// The v2 hierarchy shows only the runtime's service, v1 shows the container.
#[test]
fn on_a_hybrid_host() {
    let unified = tempfile::tempdir().expect("a folder");
    let service = unified.path().join("docker.service");
    std::fs::create_dir(&service).expect("made");
    let id = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&service).expect("there"));
    let mounts = format!("{V1}41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", unified.path().display());
    let (_root, owners) = host(&mounts, &format!("4:memory:/docker/{ID}\n0::/docker.service\n"));
    assert_eq!(of_42(&owners, id), ("1a2b3c4d5e6f".into(), Outcome::Container));
    // The process has ended: fall back to the service.
    let gone = Identity { cgroup: id, tgid: 43, start_ns: 1, socket: 0 };
    owners.shared().wait_for(&[gone], Duration::from_secs(20));
    let (workload, outcome) = owners.name(&gone, None).expect("resolved");
    assert_eq!((workload.map(|it| it.name).as_deref(), outcome), (Some("docker.service"), Outcome::Unit));
}

/// An agent in a cgroup namespace of its own cannot resolve cgroup ids, but can resolve the host's processes.
#[test]
fn in_a_cgroup_namespace() {
    let (_root, owners) =
        host("", &format!("0::/../../kubepods-pod{}.slice/cri-containerd-{ID}.scope\n", UID.replace('-', "_")));
    assert_eq!(of_42(&owners, 4711), ("1a2b3c4d5e6f".into(), Outcome::Container));
}

#[test]
fn listeners_are_named_in_their_first_scan() {
    let (_root, owners) = host("", "0::/system.slice/nginx.service\n");
    let key = Identity { cgroup: 0, socket: 0, tgid: 42, start_ns: 5_000_000_000 };
    let gone = Identity { tgid: 43, ..key };
    let process = || Some(rstwatch_verdict::identity::workload(&nginx()));
    let mut all = [(key, process()), (gone, process())];
    owners.name_all(all.iter_mut().map(|(key, workload)| (&*key, workload)), Duration::from_secs(20));
    let names = all.map(|(_, workload)| workload.map(|it| it.name.to_string()).unwrap_or_default());
    assert_eq!(names, ["nginx.service", "nginx"]);
    assert_eq!(owners.counts().iter().map(|(_, count)| count).sum::<u64>(), 0, "listeners are not events");
}
