//! The stages and the agent while the API hangs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rstwatch::identity::kubernetes::ClusterCache;
use rstwatch::identity::kubernetes::failure::Kind;
use rstwatch::identity::owner::pods::{Lookup, Pods};
use rstwatch_common::record::ResetRecord;
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::stages::Stages;
use rustix::process::{Pid, Signal, kill_process};

use crate::access::{certificates, serve_tls};
use crate::apiserver::{ApiServer, Behavior, pod};
use crate::fixture::Fixture;
use crate::{NODE, context};

const RECORDS: &[u8] = include_bytes!("../records/loopback-6.18.bin");

/// Lookups are answered from the cache and the stages keep their rate while the API accepts connections and does not respond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_flow_while_the_api_hangs() {
    let events = |known: Option<&ClusterCache>| {
        let start = Instant::now();
        let mut stages = Stages::new(context::context());
        let mut count = 0;
        while start.elapsed() < Duration::from_millis(300) {
            for chunk in RECORDS.chunks(size_of::<ResetRecord>()) {
                stages.record(&decode(chunk).expect("a record"), &|| 0);
            }
            stages.flush(&|| 0);
            while let Some(mut judged) = stages.pop() {
                if let Some(known) = known {
                    known.name_remote(&mut judged.event);
                    assert_eq!(known.pods.find(Some("uid-shop-orders"), Some("aa")), Lookup::Unknown);
                }
                count += 1;
            }
        }
        count
    };
    let api = ApiServer::start().expect("a server");
    api.set_behavior(Behavior::Silent);
    let kubeconfig = api.kubeconfig();
    let fixture = Fixture::new(api, &kubeconfig, Some(1_000));
    assert!(fixture.api.wait_for_requests(|requests| requests.len() >= 4));
    // In turns, so that other load on this machine slows down both.
    let (mut alone, mut hanging) = (0_u64, 0_u64);
    for _ in 0..5 {
        alone += events(None);
        hanging += events(Some(fixture.cache()));
    }
    println!("{alone} events without, {hanging} while the API hangs");
    // Waiting for a single response would reduce the rate to almost nothing; other tests may cause smaller differences.
    assert!(hanging * 2 >= alone, "{hanging} while the API hangs, {alone} without");
    assert!(!fixture.cache().health.is_up() && fixture.errors(Kind::Connect) > 0);
}

/// Any event.
pub(crate) fn event() -> rstwatch_verdict::event::Event {
    let mut stages = Stages::new(context::context());
    for chunk in RECORDS.chunks(size_of::<ResetRecord>()) {
        stages.record(&decode(chunk).expect("a record"), &|| 0);
    }
    stages.pop().expect("an event").event
}

/// The agent starts, serves and stops in time even if the API does not respond.
#[test]
fn the_agent_does_not_wait_for_the_api() {
    if !rustix::process::geteuid().is_root() {
        // Write to stderr directly: the test harness captures `eprintln`.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
        return;
    }
    let api = ApiServer::start().expect("a server");
    api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
    api.set_behavior(Behavior::Silent);
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
    assert!(api.wait_for_requests(|requests| !requests.is_empty()), "a first request");
    // kube's own log would contain the whole response, at each attempt.
    api.set_behavior(Behavior::Body("{\"of others\": [".into()));
    says("cannot be read");
    assert!(api.wait_for_requests(|requests| requests.len() >= 4), "further requests");
    api.set_behavior(Behavior::Normal);
    says("in sync, 1 known");
    assert!(get(&address, "/metrics").contains("\nrstwatch_kubernetes_up 1\n"));
    api.set_behavior(Behavior::Silent);
    let start = Instant::now();
    kill_process(Pid::from_child(&agent.0), Signal::TERM).expect("signalled");
    assert!(agent.0.wait().expect("ended").success());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!log.contains("of others") && log.matches("cannot be read").count() == 1, "{log}");
}

/// In a pod, simulated by the environment and by the files of the service account in a mount namespace.
#[test]
fn a_pod_needs_no_settings() {
    if !rustix::process::geteuid().is_root() {
        // Write to stderr directly: the test harness captures `eprintln`.
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

/// A child process that is killed even if the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Nothing to do about errors here; the child may have ended already.
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
