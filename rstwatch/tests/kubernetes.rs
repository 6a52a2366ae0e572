//! The watches of the Kubernetes API against a server that speaks as it does, and fails in every way it can.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rstwatch::decode::decode;
use rstwatch::kubernetes::client::Source;
use rstwatch::kubernetes::failure::Kind;
use rstwatch::kubernetes::guard::Limits;
use rstwatch::kubernetes::settings::Settings;
use rstwatch::kubernetes::watch::Patience;
use rstwatch::kubernetes::{Knowledge, Kubernetes};
use rstwatch::owner::pods::{Lookup, Pods};
use rstwatch::stages::Stages;
use rstwatch_common::record::ResetRecord;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "apiserver/mod.rs"]
pub mod apiserver;
#[path = "fuzzed/context.rs"]
pub mod context;

use apiserver::{ApiServer, Mood, pod};

const RECORDS: &[u8] = include_bytes!("records/loopback-6.18.bin");
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
        calm: Duration::from_millis(100),
        settling: Duration::from_millis(20),
        tick: Duration::from_millis(5),
    }
}

/// A server, and a client of it.
struct Stage {
    api: ApiServer,
    kubernetes: Kubernetes,
    folder: TempDir,
}

impl Stage {
    fn new(api: ApiServer, kubeconfig: &str, remote_limit: Option<usize>) -> Self {
        Self::with(api, kubeconfig, remote_limit, impatient())
    }

    fn with(api: ApiServer, kubeconfig: &str, remote_limit: Option<usize>, patience: Patience) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).expect("written");
        let settings = Settings { source: Source::Kubeconfig(path), node: NODE.into(), remote_limit };
        let kubernetes = Kubernetes::with_patience(&settings, patience);
        Self { api, kubernetes, folder }
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
        let how = |request: apiserver::Request| {
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
    let versions = |requests: &[apiserver::Request]| -> Vec<u64> {
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

/// What is known stays, whatever comes; the error is counted by its kind; and it recovers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_api_does_what_is_known_stays() {
    let long = format!("{{\"items\": \"{}\"}}", "x".repeat(1 << 20));
    let gone =
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}});
    let failed = json!({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "it failed"}});
    let forbidden = "{\"kind\":\"Status\",\"code\":403,\"message\":\"no\"}".to_owned();
    let moods = [
        (Mood::Status(403, forbidden.clone()), Kind::Forbidden),
        (Mood::Status(401, String::new()), Kind::Forbidden),
        (Mood::Status(500, "<html>".into()), Kind::Other),
        (Mood::Status(503, String::new()), Kind::Other),
        (Mood::Status(410, forbidden), Kind::Gone),
        (Mood::WatchStatus(410), Kind::Gone),
        (Mood::WatchStatus(403), Kind::Forbidden),
        (Mood::WatchStatus(429), Kind::Other),
        (Mood::WatchSays(gone.to_string()), Kind::Gone),
        (Mood::WatchSays(failed.to_string()), Kind::Other),
        (Mood::WatchSays("{\"type\": \"ADDED\", \"object\": [}".into()), Kind::Decode),
        (Mood::WatchSays("{\"type\": \"UNHEARD-OF\", \"object\": {}}".into()), Kind::Decode),
        (Mood::WatchSays("{\"type\": \"MODIFIED\", \"object\": {\"metadata\": 7}}".into()), Kind::Decode),
        (Mood::WatchSays("{\"type\": \"BOOKMARK\", \"object\": {\"metadata\": []}}".into()), Kind::Decode),
        (Mood::WatchSays("\u{0}\u{1}".into()), Kind::Decode),
        (Mood::WatchSays(long.clone()), Kind::Decode),
        (Mood::Says("{}".into()), Kind::Decode),
        (Mood::Says("[1, 2".into()), Kind::Decode),
        (Mood::Says(long), Kind::Decode),
        (Mood::Says(r#"{"metadata": {"resourceVersion": "1"}, "items": {"a": 1}}"#.into()), Kind::Decode),
        (Mood::Says(r#"{"metadata": {}, "items": []}"#.into()), Kind::Decode),
        (Mood::Huge(200 << 20), Kind::Decode),
        (Mood::Silent, Kind::Connect),
        (Mood::Trickle, Kind::Connect),
    ];
    let stage = Stage::plain();
    for (i, (mood, kind)) in moods.into_iter().enumerate() {
        stage.in_sync().await;
        let shown: String = format!("{mood:?}").chars().take(80).collect();
        let (before, written) = (stage.errors(kind), stage.api.written());
        // A list is only asked for where the watch is too old.
        stage.api.forget();
        stage.api.set(mood.clone());
        stage.until(&format!("{shown} is {kind:?}"), |it| it.errors(kind) > before).await;
        assert_eq!(stage.name("uid-shop-orders").as_deref(), Some("shop/orders"), "{shown}");
        if matches!(mood, Mood::Huge(_)) {
            let written = stage.api.written() - written;
            assert!(written < 96 << 20, "{written} bytes were taken");
        }
        stage.api.set(Mood::Well);
        let name = format!("after-{i}");
        stage.api.put("pods", pod("shop", &name, NODE, "10.0.0.3"));
        stage.until(&format!("well after {shown}"), |it| it.name(&format!("uid-shop-{name}")).is_some()).await;
    }
}

/// What the API sends and we do not understand may be the end, or the beginning, of a pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_watch_says_unreadably_is_listed_instead() {
    let stage = Stage::plain();
    stage.in_sync().await;
    assert!(stage.api.wait_for_watches(1));
    stage.api.garble("pods", pod("shop", "late", NODE, "10.0.0.2"));
    stage.until("listed", |it| it.name("uid-shop-late").as_deref() == Some("shop/late")).await;
    stage.in_sync().await;
    assert_eq!(stage.errors(Kind::Decode), 1);
}

/// Of a list that never ends no more is taken than the default allows, and what lies in sockets' buffers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_takes_bounded_memory() {
    let api = ApiServer::start().expect("a server");
    api.set(Mood::Huge(200 << 20));
    let kubeconfig = api.kubeconfig();
    // Only once.
    let wait = Duration::from_secs(60);
    let patience = Patience { limits: Limits::default(), shortest: wait, longest: wait, ..impatient() };
    let stage = Stage::with(api, &kubeconfig, None, patience);
    stage.until("too long", |it| it.errors(Kind::Decode) > 0).await;
    let written = stage.api.written();
    assert!(((16 << 20)..(48 << 20)).contains(&written), "{written} bytes were taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_break_are_resumed_without_a_list() {
    let stage = Stage::plain();
    stage.in_sync().await;
    for (i, mood) in [Mood::WatchEnds, Mood::WatchCut, Mood::WatchStatus(500)].into_iter().enumerate() {
        let before = stage.api.requests().len();
        stage.api.set(mood.clone());
        assert!(stage.api.wait_for_requests(|requests| requests.len() >= before + 3), "{mood:?}");
        let name = format!("meanwhile-{i}");
        stage.api.put("pods", pod("shop", &name, NODE, "10.0.0.4"));
        stage.api.set(Mood::Well);
        stage.until(&format!("told after {mood:?}"), |it| it.name(&format!("uid-shop-{name}")).is_some()).await;
        stage.in_sync().await;
        // Errors in a row end in a list.
        if mood == Mood::WatchEnds {
            let requests = stage.api.requests();
            let lists = requests[before..].iter().filter(|request| !request.is_watch()).count();
            assert_eq!(lists, 0, "{requests:?}");
        }
    }
}

/// It asks neither without pause nor ever more seldom.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_ends_at_once_is_paced() {
    let stage = Stage::plain();
    stage.in_sync().await;
    let (before, start) = (stage.api.requests().len(), Instant::now());
    stage.api.set(Mood::WatchEnds);
    assert!(stage.api.wait_for_requests(|requests| requests.len() >= before + 40));
    let least = impatient().limits.pace * 38;
    assert!(start.elapsed() >= least, "40 watches within {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_any_shape_are_taken() {
    let stage = Stage::plain();
    stage.in_sync().await;
    assert!(stage.api.wait_for_watches(1));
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
        stage.api.say("pods", "RAW", json!({"type": "ADDED", "object": with(odd)}).to_string().into());
    }
    stage.api.put("pods", pod("shop", "after", NODE, "10.0.0.5"));
    stage.until("taken", |it| it.name("uid-shop-after").is_some()).await;
    assert_eq!(stage.known().health.errors().iter().map(|(_, count)| count).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_ends_are_named_by_address() {
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
    let stage = Stage::new(api, &kubeconfig, Some(100));
    let who = |it: &Stage, address: &str| {
        let names = it.known().names.as_ref().expect("asked for");
        names.find(address.parse().expect("an address")).map(|who| format!("{} {}", who.kind.as_str(), who.name))
    };
    for (address, expected) in [("10.0.1.7", "pod db-0"), ("10.96.0.9", "service db"), ("192.0.2.2", "node node-b")] {
        stage.until(expected, |it| who(it, address).as_deref() == Some(expected)).await;
    }
    assert_eq!(stage.name("uid-shop-db-0"), None, "a pod of another node is no owner");
    let mut event = event();
    event.remote = "10.96.0.9:5432".parse().expect("an address");
    stage.known().name_remote(&mut event);
    let json = serde_json::to_value(&event).expect("JSON");
    assert_eq!(json["remote_workload"], json!({"kind": "service", "namespace": "shop", "name": "db"}));
    event.remote = "10.96.0.10:5432".parse().expect("an address");
    stage.known().name_remote(&mut event);
    assert_eq!(event.remote_workload, None);
    stage.api.remove("pods", "shop/db-0");
    stage.api.put("pods", pod("shop", "cache", "node-c", "10.0.1.7"));
    stage.until("the next holder", |it| who(it, "10.0.1.7").as_deref() == Some("pod cache")).await;
    let paths: std::collections::BTreeSet<_> = stage.api.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), ["/api/v1/nodes", "/api/v1/pods", "/api/v1/services"]);
}

/// 10,000 pods are known within seconds, and a thousand that come and go are followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pods_and_churn() {
    let api = ApiServer::start().expect("a server");
    for i in 0..10_000 {
        api.put("pods", pod("many", &format!("p{i}"), NODE, "10.0.0.1"));
    }
    let (kubeconfig, start) = (api.kubeconfig(), Instant::now());
    let stage = Stage::with(api, &kubeconfig, None, Patience { limits: Limits::default(), ..impatient() });
    stage.until("all listed", |it| it.known().pods.len() == 10_000).await;
    println!("10,000 pods in sync after {:?}", start.elapsed());
    assert!(stage.api.wait_for_watches(1));
    for i in 0..1_000 {
        stage.api.remove("pods", &format!("many/p{i}"));
        stage.api.put("pods", pod("new", &format!("n{i}"), NODE, "10.0.0.1"));
    }
    stage.until("the last one", |it| it.name("uid-new-n999").is_some()).await;
    assert_eq!((stage.known().pods.len(), stage.name("uid-many-p0").as_deref()), (10_000, Some("many/p0")));
    assert_eq!(stage.known().pods.sizes()[0], 11_000);
}

/// Who asks is answered from memory, and the stages run at their rate, while the API takes connections and is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_flow_while_the_api_hangs() {
    let events = |known: Option<&Knowledge>| {
        let start = Instant::now();
        let mut stages = Stages::new(context::context());
        let mut count = 0;
        while start.elapsed() < Duration::from_millis(300) {
            for chunk in RECORDS.chunks(size_of::<ResetRecord>()) {
                stages.record(&decode(chunk).expect("a record"), &|| 0);
            }
            stages.flush(&|| 0);
            while let Some(mut event) = stages.pop() {
                if let Some(known) = known {
                    known.name_remote(&mut event);
                    assert_eq!(known.pods.find(Some("uid-shop-orders"), Some("aa")), Lookup::Unknown);
                }
                count += 1;
            }
        }
        count
    };
    let api = ApiServer::start().expect("a server");
    api.set(Mood::Silent);
    let kubeconfig = api.kubeconfig();
    let stage = Stage::new(api, &kubeconfig, Some(1_000));
    assert!(stage.api.wait_for_requests(|requests| requests.len() >= 4));
    // In turns, so that others on this machine slow down both.
    let (mut alone, mut hanging) = (0_u64, 0_u64);
    for _ in 0..5 {
        alone += events(None);
        hanging += events(Some(stage.known()));
    }
    println!("{alone} events without, {hanging} while the API hangs");
    // Waiting for any one answer would leave nothing of the rate; the rest of the difference is other tests' work.
    assert!(hanging * 2 >= alone, "{hanging} while the API hangs, {alone} without");
    assert!(!stage.known().health.is_up() && stage.errors(Kind::Connect) > 0);
}

/// Any event.
fn event() -> rstwatch::record::Event {
    let mut stages = Stages::new(context::context());
    for chunk in RECORDS.chunks(size_of::<ResetRecord>()) {
        stages.record(&decode(chunk).expect("a record"), &|| 0);
    }
    stages.pop().expect("an event")
}

/// The agent starts, serves and ends in time, whatever the API does.
#[test]
fn the_agent_does_not_wait_for_the_api() {
    if !rustix::process::geteuid().is_root() {
        // Past the test harness, which would swallow it.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
        return;
    }
    let api = ApiServer::start().expect("a server");
    api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
    api.set(Mood::Silent);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let kubeconfig = write("kubeconfig", &api.kubeconfig());
    let config =
        write("rstwatch.toml", &format!("[kubernetes]\nnode_name = \"{NODE}\"\nkubeconfig = {kubeconfig:?}\n"));
    let mut agent = Command::new(env!("CARGO_BIN_EXE_rstwatch"));
    agent.args(["agent", "--web.listen-address", "127.0.0.1:0", "--config"]).arg(&config);
    let mut agent = Killed(agent.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts"));
    let mut stderr = BufReader::new(agent.0.stderr.take().expect("piped"));
    let mut log = String::new();
    let mut says = |words: &str| loop {
        let mut line = String::new();
        assert_ne!(stderr.read_line(&mut line).expect("a line"), 0, "ended without {words:?}");
        log += &line;
        if line.contains(words) {
            return line;
        }
    };
    let line = says("listening on http://");
    let address = line.split("http://").nth(1).and_then(|url| url.split('/').next()).expect("address").to_owned();
    let ready = get(&address, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(get(&address, "/metrics").contains("\nrstwatch_kubernetes_up 0\n"));
    assert!(api.wait_for_requests(|requests| !requests.is_empty()), "it asks");
    // kube's own log would have it whole, and again at each attempt.
    api.set(Mood::Says("{\"of others\": [".into()));
    says("cannot be read");
    assert!(api.wait_for_requests(|requests| requests.len() >= 4), "it asks again");
    api.set(Mood::Well);
    says("in sync, 1 known");
    assert!(get(&address, "/metrics").contains("\nrstwatch_kubernetes_up 1\n"));
    api.set(Mood::Silent);
    let start = Instant::now();
    kill_process(Pid::from_child(&agent.0), Signal::TERM).expect("signalled");
    assert!(agent.0.wait().expect("ended").success());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!log.contains("of others") && log.matches("cannot be read").count() == 1, "{log}");
}

/// In a pod: the environment, and the files of the service account, in a mount namespace of its own.
#[test]
fn a_pod_needs_no_settings() {
    if !rustix::process::geteuid().is_root() {
        // Past the test harness, which would swallow it.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
        return;
    }
    let (ca, config) = certificates();
    let api = serve_tls(config);
    let account = tempfile::tempdir().expect("a folder");
    for (name, text) in [("ca.crt", ca.as_str()), ("token", "of-the-pod"), ("namespace", "monitoring")] {
        std::fs::write(account.path().join(name), text).expect("written");
    }
    let script = "mount -t tmpfs none /var/run && mkdir -p $0 && mount --bind \"$1\" $0 && exec \"$2\" trace";
    let mut trace = Command::new("unshare");
    trace.args(["--mount", "sh", "-ec", script, "/var/run/secrets/kubernetes.io/serviceaccount"]);
    trace.arg(account.path()).arg(env!("CARGO_BIN_EXE_rstwatch")).env("NODE_NAME", NODE);
    trace.env("KUBERNETES_SERVICE_HOST", api.address().ip().to_string());
    trace.env("KUBERNETES_SERVICE_PORT", api.address().port().to_string());
    let _trace = Killed(trace.stdout(Stdio::null()).spawn().expect("it starts"));
    assert!(api.wait_for_watches(1), "{:?}", api.requests());
    let request = &api.requests()[0];
    assert_eq!(request.value("fieldSelector"), Some("spec.nodeName=node-a"));
    assert_eq!(request.authorization.as_deref(), Some("Bearer of-the-pod"));
}

/// A child that does not outlive a test that fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Neither can be mended here; an ended child is not an error.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    answer
}

/// A certificate authority and a server's certificate of it.
fn certificates() -> (String, std::sync::Arc<rustls::ServerConfig>) {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.expect("protocols").with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
    (ca.pem(), std::sync::Arc::new(config.expect("a certificate")))
}

/// A server of one pod over TLS.
fn serve_tls(config: std::sync::Arc<rustls::ServerConfig>) -> ApiServer {
    let wrap = move |stream| {
        let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config));
        let connection = connection.map_err(std::io::Error::other)?;
        Ok(Box::new(rustls::StreamOwned::new(connection, stream)) as Box<dyn apiserver::Stream>)
    };
    let api = ApiServer::wrapped(std::sync::Arc::new(wrap)).expect("a server");
    api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
    api
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_of_the_clusters_authority_and_no_other() {
    let (ca, config) = certificates();
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.crt");
    let to = |api: &ApiServer| {
        let cluster =
            format!("{{server: \"https://{}\", certificate-authority: {}}}", api.address(), ca_file.display());
        apiserver::kubeconfig(&cluster)
    };
    std::fs::write(&ca_file, &ca).expect("written");
    let api = serve_tls(std::sync::Arc::clone(&config));
    let kubeconfig = to(&api);
    let stage = Stage::new(api, &kubeconfig, None);
    stage.in_sync().await;
    assert_eq!(stage.name("uid-shop-orders").as_deref(), Some("shop/orders"));

    std::fs::write(&ca_file, certificates().0).expect("written");
    let api = serve_tls(config);
    let kubeconfig = to(&api);
    let stage = Stage::new(api, &kubeconfig, None);
    stage.until("refused", |it| it.errors(Kind::Connect) > 1).await;
    assert_eq!(stage.api.requests(), [], "not even the token was sent");
    // The file is read anew.
    std::fs::write(&ca_file, ca).expect("written");
    stage.in_sync().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_kubeconfig_holds_it_is_tried_again() {
    let api = ApiServer::start().expect("a server");
    api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
    let good = api.kubeconfig();
    let program =
        good.replace("token: secret", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}");
    let unreachable = good.replace(&api.address().to_string(), "127.0.0.1:1");
    let unresolvable = good.replace(&api.address().to_string(), "nowhere.invalid");
    let stage = Stage::new(api, "", None);
    let path = stage.folder.path().join("kubeconfig");
    for bad in ["", "{", "\u{0}", "apiVersion: v1\nkind: Config\n", &program, &unreachable, &unresolvable] {
        std::fs::write(&path, bad).expect("written");
        let errors = |it: &Stage| it.errors(Kind::Other) + it.errors(Kind::Connect);
        let before = errors(&stage);
        stage.until(bad, |it| errors(it) > before + 1).await;
        assert!(!stage.known().health.is_up());
    }
    assert_eq!(stage.api.requests(), []);
    std::fs::write(&path, good).expect("written");
    stage.in_sync().await;
}
