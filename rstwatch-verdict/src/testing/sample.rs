//! Events for tests.

use crate::cause::{Cause, Confidence, Direction, Sender};
use crate::event::{Event, Process, Role, Rst, TimeoutCandidate, Workload, WorkloadKind};
use crate::identity::Identity;
use crate::judged::Judged;
use crate::timing::{Moment, Timer, Timing};

/// An event with nothing optional seen.
pub fn event(direction: Direction, cause: Cause, sender: Sender, confidence: Confidence) -> Event {
    Event {
        time: jiff::Timestamp::from_microsecond(1_760_013_067_482_000).expect("in range"),
        node: "node-a".into(),
        local: "10.0.3.41:48732".parse().expect("an address"),
        remote: "10.0.7.12:5432".parse().expect("an address"),
        netns: 4_026_531_840,
        ..Event::bare(direction, cause, sender, confidence)
    }
}

/// The example of the documentation: a pooled database connection that was idle for too long.
pub fn idle_reaped() -> Event {
    let candidate = |who: &str| TimeoutCandidate { seconds: 60, who: who.into() };
    Event {
        because: vec!["idle 61.2 s before this request".into(), "peer's FIN came 1.2 s earlier".into()],
        role: Role::Client,
        state: Some("CLOSE_WAIT"),
        idle_ms: Some(61_240),
        timeout_candidates: vec![candidate("AWS ALB"), candidate("nginx upstream")],
        rst: Some(Rst { ttl: Some(63), ttl_expected: Some(63), ..Rst::default() }),
        process: Some(Process { pid: 4121, comm: "orders-api".into() }),
        workload: Some(workload(WorkloadKind::Pod, "shop", "orders-7c9d")),
        ..event(Direction::Received, Cause::IdleReaped, Sender::Peer, Confidence::Likely)
    }
}

/// The same with its timing: the timeout of 60 s was seen to fire.
pub fn judged_idle_reaped() -> Judged {
    let timer = Timer { after: std::time::Duration::from_millis(60_010), exact: true };
    let timing = Timing { moment: Moment::AfterIdle, timer: Some(timer), repeats_sent: false };
    Judged { timing, ..judged(idle_reaped()) }
}

/// An event of unknown timing and owner.
pub fn judged(event: Event) -> Judged {
    Judged { event, timing: Timing::default(), identity: Identity::default() }
}

/// A workload; an empty namespace means none.
pub fn workload(kind: WorkloadKind, namespace: &str, name: &str) -> Workload {
    let namespace = (!namespace.is_empty()).then(|| namespace.into());
    Workload { kind, namespace, name: name.into(), container: None, controller: None }
}
