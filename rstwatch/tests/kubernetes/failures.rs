//! Failures of the API.

use std::time::{Duration, Instant};

use rstwatch::identity::kubernetes::failure::Kind;
use rstwatch::identity::kubernetes::limits::ResponseLimits;
use rstwatch::identity::kubernetes::watch::WatchTimeouts;
use serde_json::json;

use crate::NODE;
use crate::apiserver::{ApiServer, Behavior, pod};
use crate::fixture::{Fixture, short_timeouts};

/// Known pods keep their names, each error is counted by its kind, and the watch recovers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_pods_survive_every_failure_of_the_api() {
    let long = format!("{{\"items\": \"{}\"}}", "x".repeat(1 << 20));
    let gone =
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}});
    let failed = json!({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "it failed"}});
    let forbidden = "{\"kind\":\"Status\",\"code\":403,\"message\":\"no\"}".to_owned();
    let behaviors = [
        (Behavior::Status(403, forbidden.clone()), Kind::Forbidden),
        (Behavior::Status(401, String::new()), Kind::Forbidden),
        (Behavior::Status(500, "<html>".into()), Kind::Other),
        (Behavior::Status(503, String::new()), Kind::Other),
        (Behavior::Status(410, forbidden), Kind::Gone),
        (Behavior::WatchStatus(410), Kind::Gone),
        (Behavior::WatchStatus(403), Kind::Forbidden),
        (Behavior::WatchStatus(429), Kind::Other),
        (Behavior::WatchBody(gone.to_string()), Kind::Gone),
        (Behavior::WatchBody(failed.to_string()), Kind::Other),
        (Behavior::WatchBody("{\"type\": \"ADDED\", \"object\": [}".into()), Kind::Decode),
        (Behavior::WatchBody("{\"type\": \"UNHEARD-OF\", \"object\": {}}".into()), Kind::Decode),
        (Behavior::WatchBody("{\"type\": \"MODIFIED\", \"object\": {\"metadata\": 7}}".into()), Kind::Decode),
        (Behavior::WatchBody("{\"type\": \"BOOKMARK\", \"object\": {\"metadata\": []}}".into()), Kind::Decode),
        (Behavior::WatchBody("\u{0}\u{1}".into()), Kind::Decode),
        (Behavior::WatchBody(long.clone()), Kind::Decode),
        (Behavior::Body("{}".into()), Kind::Decode),
        (Behavior::Body("[1, 2".into()), Kind::Decode),
        (Behavior::Body(long), Kind::Decode),
        (Behavior::Body(r#"{"metadata": {"resourceVersion": "1"}, "items": {"a": 1}}"#.into()), Kind::Decode),
        (Behavior::Body(r#"{"metadata": {}, "items": []}"#.into()), Kind::Decode),
        (Behavior::Huge(200 << 20), Kind::Decode),
        (Behavior::Silent, Kind::Connect),
        (Behavior::Trickle, Kind::Connect),
    ];
    let fixture = Fixture::with_one_pod();
    for (i, (behavior, kind)) in behaviors.into_iter().enumerate() {
        fixture.in_sync().await;
        let shown: String = format!("{behavior:?}").chars().take(80).collect();
        let (before, written) = (fixture.errors(kind), fixture.api.written());
        // Expire the version, so that the watch must read the list again.
        fixture.api.expire_versions();
        fixture.api.set_behavior(behavior.clone());
        fixture.wait_until(&format!("{shown} is {kind:?}"), |it| it.errors(kind) > before).await;
        assert_eq!(fixture.name("uid-shop-orders").as_deref(), Some("shop/orders"), "{shown}");
        if matches!(behavior, Behavior::Huge(_)) {
            let written = fixture.api.written() - written;
            assert!(written < 96 << 20, "{written} bytes were read");
        }
        fixture.api.set_behavior(Behavior::Normal);
        let name = format!("after-{i}");
        fixture.api.put("pods", pod("shop", &name, NODE, "10.0.0.3"));
        fixture
            .wait_until(&format!("recovery after {shown}"), |it| it.name(&format!("uid-shop-{name}")).is_some())
            .await;
    }
}

/// An unreadable event may be the creation or deletion of a pod, so the list is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_event_causes_a_list() {
    let fixture = Fixture::with_one_pod();
    fixture.in_sync().await;
    assert!(fixture.api.wait_for_watches(1));
    fixture.api.put_unreadable("pods", pod("shop", "late", NODE, "10.0.0.2"));
    fixture.wait_until("listed", |it| it.name("uid-shop-late").as_deref() == Some("shop/late")).await;
    fixture.in_sync().await;
    assert_eq!(fixture.errors(Kind::Decode), 1);
}

/// A client reads no more of an endless list than the default limit, plus what the socket buffers hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_takes_bounded_memory() {
    let api = ApiServer::start().expect("a server");
    api.set_behavior(Behavior::Huge(200 << 20));
    let kubeconfig = api.kubeconfig();
    // Long enough that the list is requested only once.
    let wait = Duration::from_secs(60);
    let timeouts =
        WatchTimeouts { limits: ResponseLimits::default(), min_backoff: wait, max_backoff: wait, ..short_timeouts() };
    let fixture = Fixture::with(api, &kubeconfig, None, timeouts);
    fixture.wait_until("too long", |it| it.errors(Kind::Decode) > 0).await;
    let written = fixture.api.written();
    assert!(((16 << 20)..(48 << 20)).contains(&written), "{written} bytes were read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_watch_resumes_without_a_list() {
    let fixture = Fixture::with_one_pod();
    fixture.in_sync().await;
    for (i, behavior) in
        [Behavior::WatchEnds, Behavior::WatchTruncated, Behavior::WatchStatus(500)].into_iter().enumerate()
    {
        let before = fixture.api.requests().len();
        fixture.api.set_behavior(behavior.clone());
        assert!(fixture.api.wait_for_requests(|requests| requests.len() >= before + 3), "{behavior:?}");
        let name = format!("meanwhile-{i}");
        fixture.api.put("pods", pod("shop", &name, NODE, "10.0.0.4"));
        fixture.api.set_behavior(Behavior::Normal);
        fixture
            .wait_until(&format!("reported after {behavior:?}"), |it| it.name(&format!("uid-shop-{name}")).is_some())
            .await;
        fixture.in_sync().await;
        // Consecutive errors cause a list.
        if behavior == Behavior::WatchEnds {
            let requests = fixture.api.requests();
            let lists = requests[before..].iter().filter(|request| !request.is_watch()).count();
            assert_eq!(lists, 0, "{requests:?}");
        }
    }
}

/// Watches that end at once are repeated at the shortest interval, without backoff.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_ends_at_once_is_paced() {
    let fixture = Fixture::with_one_pod();
    fixture.in_sync().await;
    let (before, start) = (fixture.api.requests().len(), Instant::now());
    fixture.api.set_behavior(Behavior::WatchEnds);
    assert!(fixture.api.wait_for_requests(|requests| requests.len() >= before + 40));
    let least = short_timeouts().limits.watch_interval * 38;
    assert!(start.elapsed() >= least, "40 watches within {:?}", start.elapsed());
}
