use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::capacity::{CapacitySnapshot, Conntrack, Listener};
use crate::kernel::probe::{Probe, Status};
use crate::stats::aggregate::{KernelCounts, LossStage};
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Event, Process};
use rstwatch_verdict::testing::sample;

/// A server with its own state and port.
pub(super) struct Service {
    runtime: tokio::runtime::Runtime,
    pub(super) address: SocketAddr,
    pub(super) aggregate: Arc<Aggregate>,
    pub(super) history: Arc<History>,
    timeline: Arc<Timeline>,
    capacity: Arc<Capacity>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Service {
    pub(super) fn start(probes: Vec<Probe>) -> Self {
        Self::start_with(probes, None)
    }

    pub(super) fn start_with(probes: Vec<Probe>, web: Option<Arc<WebConfig>>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let (aggregate, history) = (Arc::new(Aggregate::new(10)), Arc::new(History::default()));
        let (timeline, capacity) = (Arc::new(Timeline::default()), Arc::new(Capacity::default()));
        let counts = || {
            Some(KernelCounts {
                resets: Vec::new(),
                undelivered: vec![(Direction::Sent, LossStage::Decode, 2)],
                untracked: 0,
            })
        };
        let state = AppState {
            node: "node<a>".into(),
            build: Build { version: "0.1.0", revision: "abc", object: "def" },
            probes: Arc::new(Probes(probes)),
            aggregate: Arc::clone(&aggregate),
            history: Arc::clone(&history),
            timeline: Arc::clone(&timeline),
            idle_timeouts: Arc::new(SharedIdleTimeouts::new(10, 10, Arc::new(Vec::new))),
            counts: Arc::new(counts),
            capacity: Arc::clone(&capacity),
            kubernetes: None,
            web,
            owners: None,
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("port");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = watch::channel(false);
        let server = runtime.spawn(server(state, "/metrics").serve(vec![listener], stopped));
        Self { runtime, address, aggregate, history, timeline, capacity, stop, server }
    }

    pub(super) fn record(&self, event: Event) {
        self.aggregate.record(&event);
        self.timeline.record(&event);
        self.history.push(Arc::new(sample::judged(event)));
    }

    /// Sends a request; the caller reads the response.
    pub(super) fn open(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").expect("sent");
        BufReader::new(stream)
    }

    /// Status, head and body of a response.
    pub(super) fn get_with(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut text = String::new();
        self.open(path, &format!("{headers}Connection: close\r\n")).read_to_string(&mut text).expect("answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("status");
        (status, head.to_lowercase(), body.to_owned())
    }

    pub(super) fn get(&self, path: &str) -> (u16, String, String) {
        self.get_with(path, "")
    }

    /// Stops the server. Returns how long that took.
    pub(super) fn stop(self) -> Duration {
        let start = Instant::now();
        self.history.close();
        self.stop.send_replace(true);
        self.runtime.block_on(self.server).expect("ended");
        start.elapsed()
    }
}

pub(super) fn probe(name: &'static str, required: bool, attached: bool, detail: &str) -> Probe {
    let status = if attached { Status::Attached } else { Status::Missing { why: detail.into() } };
    Probe { name, required, status, evidence: "TTL evidence" }
}

#[test]
fn health_and_readiness() {
    let service = Service::start(vec![probe("tcp_send_reset", true, true, "")]);
    assert_eq!(service.get("/healthz").0, 200);
    assert_eq!(service.get("/readyz").0, 200);
    assert_eq!(service.get("/nowhere").0, 404);

    let service =
        Service::start(vec![probe("tcp_send_reset", true, false, "EPERM"), probe("rst_header", false, false, "x")]);
    assert_eq!(service.get("/healthz").0, 200, "still alive");
    let (status, _, body) = service.get("/readyz");
    assert_eq!((status, body.as_str()), (503, "not attached: tcp_send_reset (EPERM)\n"));
}

/// The web configuration reaches every route; the probes are the only exception.
#[test]
fn passwords_protect_every_route_but_the_probes() {
    let file = tempfile::NamedTempFile::new().expect("file");
    // Of "secret".
    let users = "basic_auth_users:\n  alice: $2b$04$ZhPUUDGt0aZyOrFmKliM1O1uNK8lfZSRAVIov8O6Mt43VSUHi5tH.\n";
    std::fs::write(file.path(), users).expect("written");
    let web = WebConfig::open(file.path()).expect("valid");
    let service = Service::start_with(vec![probe("tcp_send_reset", true, false, "EPERM")], Some(Arc::clone(&web)));
    for path in ["/", "/metrics", "/api/v1/events?follow=1", "/api/v1/status", "/page/page.js", "/nowhere"] {
        let (status, head, body) = service.get(path);
        assert_eq!(status, 401, "{path}");
        assert!(head.contains("www-authenticate: basic") && !body.contains("rstwatch_"), "{path}: {head} {body}");
    }
    assert_eq!(service.get("/healthz").0, 200);
    let (status, _, body) = service.get("/readyz");
    assert_eq!((status, body.as_str()), (503, "not ready\n"), "no details without a password");

    let metrics = || service.get_with("/metrics", "Authorization: Basic YWxpY2U6c2VjcmV0\r\n").2;
    let gauge = |value| format!("\nrstwatch_web_config_last_reload_successful {value}\n");
    assert!(metrics().contains(&gauge(1)), "{}", metrics());
    std::fs::write(file.path(), "basic_auth_users: [").expect("written");
    web.reload();
    assert!(metrics().contains(&gauge(0)), "{}", metrics());
}

#[test]
fn metrics_come_in_the_accepted_format() {
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
fn recent_events_are_ordered_by_time() {
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

/// Reads a chunked response up to the line that contains `word`.
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
fn followers_receive_new_events() {
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
fn followers_are_limited_and_slots_become_free() {
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
        assert!(Instant::now() < deadline, "no slot became free");
    }
}

#[test]
fn the_server_stops_in_time_although_clients_are_connected() {
    let service = Service::start(vec![]);
    let mut follower = service.open("/api/v1/events?follow=1", "");
    read_until(&mut follower, "x-ndjson");
    // A second client does not read, a third has sent half a request, a fourth nothing.
    let mut not_reading = service.open("/api/v1/events?follow=1", "");
    read_until(&mut not_reading, "x-ndjson");
    (0..20_000).for_each(|_| service.history.push(Arc::new(sample::judged_idle_reaped())));
    let mut half = TcpStream::connect(service.address).expect("connected");
    half.write_all(b"GET / HT").expect("sent");
    let _silent = TcpStream::connect(service.address).expect("connected");
    let elapsed = service.stop();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

#[test]
fn the_page_shows_verdicts_and_escapes_untrusted_text() {
    let service = Service::start(vec![probe("rst_header", false, false, "fentry: <EPERM>")]);
    let mut event = sample::idle_reaped();
    event.process = Some(Process { pid: 1, comm: "<script>alert(1)</script>".into() });
    event.because.push("<img src=x onerror=\"x\">".into());
    service.record(event);
    let (status, head, body) = service.get("/");
    assert_eq!(status, 200);
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    for part in [
        "rstwatch on node&#60;a&#62;",
        "<b>idle_reaped</b> likely, by peer",
        "fentry: &#60;EPERM&#62;",
        "less than 61.2 s",
        "<td>unsampled",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let (before, plain) = body.split_once("<noscript>").expect("the part without scripts");
    let (plain, after) = plain.split_once("</noscript>").expect("its end");
    assert!(!plain.contains("<script") && !plain.contains("<img") && plain.contains("<b>idle_reaped</b>"), "{plain}");
    let ours = |tag: &str| [before, after].map(|part| part.matches(tag).count());
    assert_eq!((ours("<script"), ours("<img")), ([2, 0], [1, 0]), "the template's own");
}

#[test]
fn the_policy_allows_what_the_page_needs_and_nothing_else() {
    let service = Service::start(vec![]);
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                  img-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'\r\n";
    for path in ["/", "/page/page.js", "/api/v1/status", "/api/v1/events", "/metrics", "/nowhere"] {
        let head = service.get(path).1 + "\r\n";
        assert!(head.contains(policy), "{path}: {head}");
        assert!(head.contains("cache-control: no-store\r\n"), "{path}: {head}");
    }
}

#[test]
fn the_page_serves_its_own_files() {
    let service = Service::start(vec![]);
    let cases = [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/page/page.css", "text/css; charset=utf-8", ":root"),
        ("/page/page.js", "text/javascript; charset=utf-8", "// The page"),
        ("/page/icon.svg", "image/svg+xml", "<svg"),
        (
            "/page/vendor/uplot/uPlot.iife.min.js",
            "text/javascript; charset=utf-8",
            "/*! https://github.com/leeoniya/uPlot",
        ),
        ("/page/vendor/uplot/uPlot.min.css", "text/css; charset=utf-8", ".uplot"),
    ];
    for (path, kind, begins) in cases {
        let (status, head, body) = service.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        assert!(body.starts_with(begins), "{path}: {}", &body[..40]);
    }
    assert_eq!(service.get("/page/").0, 404);
    assert_eq!(service.get("/page/../mod.rs").0, 404);
}

#[test]
fn the_status_has_the_data_of_the_page() {
    let service = Service::start(vec![probe("rst_header", false, false, "EPERM")]);
    let mut event = sample::idle_reaped();
    event.time = jiff::Timestamp::now();
    service.record(event);
    let workload = sample::workload(rstwatch_verdict::event::WorkloadKind::Pod, "shop", "orders");
    let listener = Listener {
        address: "::".into(),
        port: 443,
        workload: Some(workload),
        netns: 1,
        sockets: 1,
        length: 5,
        limit: 128,
        overflows: 7,
    };
    let conntrack = Some(Conntrack { entries: 3, limit: 10 });
    service.capacity.set(CapacitySnapshot {
        listeners: vec![listener],
        conntrack,
        out_rsts_difference: Some(-1),
        ..CapacitySnapshot::default()
    });

    let status: serde_json::Value = serde_json::from_str(&service.get("/api/v1/status").2).expect("JSON");
    let is = |pointer: &str, expected: serde_json::Value| {
        assert_eq!(status.pointer(pointer), Some(&expected), "{pointer} in {status}");
    };
    is("/node", "node<a>".into());
    is("/version", "0.1.0".into());
    is("/events", 1.into());
    is("/minutes/resets/0/cause", "idle_reaped".into());
    is("/minutes/resets/0/direction", "received".into());
    is("/totals/0/counts", 1.into());
    is("/totals/1", serde_json::json!({ "direction": "sent", "cause": "unsampled", "counts": 2 }));
    is("/idle/bounds/0", 1.into());
    is("/idle/resets/0/counts/8", 1.into());
    is("/listeners/0/port", 443.into());
    is("/listeners/0/workload/namespace", "shop".into());
    is("/conntrack", serde_json::json!({ "entries": 3, "limit": 10 }));
    is("/conntrack_elsewhere", serde_json::json!([]));
    is("/out_rsts_difference", (-1).into());
    is("/conntrack_drops", serde_json::Value::Null);
    is("/stack/orphans", serde_json::Value::Null);
    is("/timeouts", serde_json::json!([]));
    is("/lost", serde_json::json!({ "decode": 2, "follower": 0, "missed": 0, "rate_limited": 0, "ring_full": 0 }));
    is("/probes/0/state", "missing".into());
    is("/probes/0/missed", true.into());
    let minutes = |pointer: &str| status.pointer(pointer).and_then(|it| it.as_array()).expect("a list").clone();
    let (starts, counts) = (minutes("/minutes/starts"), minutes("/minutes/resets/0/counts"));
    assert_eq!((starts.len(), counts.len()), (60, 60));
    assert!(starts.iter().all(|start| start.as_i64().is_some_and(|start| start % 60 == 0)));
    assert_eq!(counts.iter().filter_map(serde_json::Value::as_u64).sum::<u64>(), 1);
}

#[test]
fn causes_are_listed_in_the_order_of_the_table() {
    let causes: serde_json::Value =
        serde_json::from_str(&Service::start(vec![]).get("/api/v1/causes").2).expect("JSON");
    let words: Vec<_> = causes.as_array().expect("a list").iter().filter_map(|entry| entry["cause"].as_str()).collect();
    assert_eq!(words, Cause::ALL.iter().map(|cause| cause.as_str()).collect::<Vec<_>>());
    assert!(causes[0]["means"].is_string() && causes[0]["confirm"][0][0].is_string(), "{}", causes[0]);
}

#[test]
fn events_have_advice_only_if_requested() {
    let service = Service::start(vec![]);
    let mut answer = service.open("/api/v1/events?follow=1&advice=1&limit=1", "");
    read_until(&mut answer, "application/x-ndjson");
    service.record(sample::idle_reaped());
    let mut lines = String::new();
    answer.read_to_string(&mut lines).expect("it ends after one");
    let advice = "\"advice\":\"keep pooled connections idle for less than 61.2 s";
    assert!(lines.contains(advice), "{lines}");
    assert!(service.get("/api/v1/events?advice=1").2.contains(advice));
    service.record(sample::event(Direction::Sent, Cause::Unknown, Sender::Unknown, Confidence::Guess));
    assert!(!service.get("/api/v1/events").2.contains("\"advice\""), "no advice unless requested");
    let plain = service.get("/api/v1/events?limit=1").2;
    let advised = service.get("/api/v1/events?limit=1&advice=1").2;
    assert!(advised.contains(r#""remaining":null,"advice":null"#), "{advised}");
    assert!(advised.starts_with(&plain[..plain.len() - 2]), "advice is appended to the other fields: {advised}");
}

#[test]
fn the_metrics_cannot_replace_another_route() {
    for path in ["/", "/healthz", "/readyz", "/api/v1/events", "/api/v1/status", "/api/v1/causes", "/page/page.js"] {
        assert!(is_reserved(path), "{path}");
    }
    assert!(!is_reserved("/metrics") && !is_reserved("/pages"));
}
