//! Every way to fail.

use std::time::{Duration, Instant};

use rstwatch::identity::kubernetes::failure::Kind;
use rstwatch::identity::kubernetes::guard::Limits;
use rstwatch::identity::kubernetes::watch::Patience;
use serde_json::json;

use crate::NODE;
use crate::apiserver::{ApiServer, Mood, pod};
use crate::stage::{Stage, impatient};

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
