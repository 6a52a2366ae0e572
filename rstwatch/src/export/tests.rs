use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::aggregate::KernelCounts;
use crate::aggregate::LossStage;
use crate::cause::{Cause, Confidence, Direction, Sender};
use crate::record::{Event, Process};
use crate::sample;

/// A served state on a port of its own.
struct Service {
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    aggregate: Arc<Aggregate>,
    history: Arc<History>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Service {
    fn start(probes: Vec<Probe>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let (aggregate, history) = (Arc::new(Aggregate::new(10)), Arc::new(History::default()));
        let counts =
            || Some(KernelCounts { resets: Vec::new(), undelivered: vec![(Direction::Sent, LossStage::Decode, 2)] });
        let state = AppState {
            node: "node<a>".into(),
            build: Build { version: "0.1.0", revision: "abc", object: "def" },
            probes: Arc::new(Probes(probes)),
            aggregate: Arc::clone(&aggregate),
            history: Arc::clone(&history),
            bounds: Arc::new(SharedBounds::new(10, 10, Arc::new(Vec::new))),
            counts: Arc::new(counts),
            capacity: Arc::default(),
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("port");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = watch::channel(false);
        let server = runtime.spawn(http::serve(vec![listener], router(state, "/metrics"), stopped));
        Self { runtime, address, aggregate, history, stop, server }
    }

    fn record(&self, event: Event) {
        self.aggregate.record(&event);
        self.history.push(Arc::new(event));
    }

    /// Sends a request and leaves the answer to be read.
    fn open(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").expect("sent");
        BufReader::new(stream)
    }

    /// Status, head and body of one answer.
    fn get_with(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut text = String::new();
        self.open(path, &format!("{headers}Connection: close\r\n")).read_to_string(&mut text).expect("answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("status");
        (status, head.to_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.get_with(path, "")
    }

    /// Stops the server; returns how long it took.
    fn stop(self) -> Duration {
        let start = Instant::now();
        self.history.close();
        self.stop.send_replace(true);
        self.runtime.block_on(self.server).expect("ended");
        start.elapsed()
    }
}

fn probe(name: &'static str, required: bool, attached: bool, detail: &str) -> Probe {
    Probe { name, required, attached, detail: detail.into(), degrades: "TTL evidence" }
}

#[test]
fn health_and_readiness() {
    let service = Service::start(vec![probe("tcp_send_reset", true, true, "")]);
    assert_eq!(service.get("/healthz").0, 200);
    assert_eq!(service.get("/readyz").0, 200);
    assert_eq!(service.get("/nowhere").0, 404);

    let service =
        Service::start(vec![probe("tcp_send_reset", true, false, "EPERM"), probe("rst_header", false, false, "x")]);
    assert_eq!(service.get("/healthz").0, 200, "alive all the same");
    let (status, _, body) = service.get("/readyz");
    assert_eq!((status, body.as_str()), (503, "not attached: tcp_send_reset (EPERM)\n"));
}

#[test]
fn metrics_in_the_dialect_that_was_asked_for() {
    let service = Service::start(vec![]);
    service.record(sample::idle_reaped());
    let (status, head, body) = service.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("# TYPE rstwatch_resets_total counter\n") && !body.contains("# EOF"), "{body}");
    assert!(body.contains("rstwatch_resets_total{direction=\"sent\",cause=\"unsampled\",sender=\"unknown\",workload_kind=\"\",namespace=\"\",workload=\"\"} 2\n"), "{body}");
    let (_, head, body) =
        service.get_with("/metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.contains("# TYPE rstwatch_resets counter\n") && body.ends_with("# EOF\n"), "{body}");
}

#[test]
fn recent_events_newest_last() {
    let service = Service::start(vec![]);
    for n in 0..5 {
        let mut event = sample::idle_reaped();
        (event.netns, event.cause) = (n, if n == 3 { Cause::Refused } else { Cause::IdleReaped });
        service.record(event);
    }
    let netns = |path| {
        let events: Vec<serde_json::Value> = serde_json::from_str(&service.get(path).2).expect("JSON");
        events.iter().map(|event| event["netns"].as_u64().expect("number")).collect::<Vec<_>>()
    };
    assert_eq!(netns("/api/v1/events"), [0, 1, 2, 3, 4]);
    assert_eq!(netns("/api/v1/events?limit=2"), [3, 4]);
    assert_eq!(netns("/api/v1/events?cause=refused"), [3]);
    assert_eq!(netns("/api/v1/events?cause=idle_reaped&limit=1"), [4]);
    assert_eq!(netns("/api/v1/events?direction=sent"), [0_u64; 0]);

    let (status, head, body) = service.get("/api/v1/events?cause=tired");
    assert_eq!(status, 400);
    assert!(head.contains("application/json"), "{head}");
    let error: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert!(error["error"].as_str().is_some_and(|error| error.starts_with("cause \"tired\" is none of")), "{body}");
    assert_eq!(body.trim_end().lines().count(), 1);
}

/// Reads a chunked answer up to the line that holds `word`.
fn read_until(answer: &mut BufReader<TcpStream>, word: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(answer.read_line(&mut line).expect("a line in time"), 0, "ended before {word}");
        if line.contains(word) {
            return line;
        }
    }
}

#[test]
fn followers_get_events_as_they_come() {
    let service = Service::start(vec![]);
    service.record(sample::event(Direction::Sent, Cause::LingerAbort, Sender::LocalApp, Confidence::Certain));
    let mut answer = service.open("/api/v1/events?follow=1&cause=refused&limit=2", "");
    read_until(&mut answer, "application/x-ndjson");
    for cause in [Cause::Refused, Cause::UnreadData, Cause::Refused] {
        service.record(sample::event(Direction::Received, cause, Sender::Peer, Confidence::Certain));
    }
    let mut rest = String::new();
    answer.read_to_string(&mut rest).expect("it ends after two");
    assert_eq!(rest.matches("\"cause\":\"refused\"").count(), 2, "{rest}");
    assert!(!rest.contains("unread_data") && !rest.contains("linger_abort"), "{rest}");
}

#[test]
fn too_many_followers_are_told_so_and_places_become_free() {
    let service = Service::start(vec![]);
    let mut followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| service.open("/api/v1/events?follow=1", "")).collect();
    followers.iter_mut().for_each(|answer| _ = read_until(answer, "x-ndjson"));
    let (status, _, body) = service.get("/api/v1/events?follow=1");
    assert_eq!(status, 503, "{body}");
    assert_eq!(service.get("/metrics").0, 200, "scrapes go on");
    drop(followers);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !service
        .open("/api/v1/events?follow=1", "")
        .lines()
        .next()
        .is_some_and(|line| line.is_ok_and(|line| line.contains("200")))
    {
        assert!(Instant::now() < deadline, "no place became free");
    }
}

#[test]
fn it_ends_in_time_although_clients_are_connected() {
    let service = Service::start(vec![]);
    let mut follower = service.open("/api/v1/events?follow=1", "");
    read_until(&mut follower, "x-ndjson");
    // Another does not read what it is sent, a third has sent half a request, a fourth nothing.
    let mut deaf = service.open("/api/v1/events?follow=1", "");
    read_until(&mut deaf, "x-ndjson");
    (0..20_000).for_each(|_| service.history.push(Arc::new(sample::idle_reaped())));
    let mut half = TcpStream::connect(service.address).expect("connected");
    half.write_all(b"GET / HT").expect("sent");
    let _silent = TcpStream::connect(service.address).expect("connected");
    let took = service.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn the_page_shows_verdicts_and_lets_nothing_in() {
    let service = Service::start(vec![probe("rst_header", false, false, "fentry: <EPERM>")]);
    let mut event = sample::idle_reaped();
    event.process = Some(Process { pid: 1, comm: "<script>alert(1)</script>".into() });
    event.because.push("<img src=x onerror=\"x\">".into());
    service.record(event);
    let (status, head, body) = service.get("/");
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'; style-src 'self'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    for part in [
        "rstwatch on node&#60;a&#62;",
        "<b>idle_reaped</b> likely, by peer",
        "fentry: &#60;EPERM&#62;",
        "less than 60 s",
        "<td>unsampled",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert!(!body.contains("<script") && !body.contains("<img"), "{body}");
    assert_eq!(service.get("/style.css").0, 200);
}
