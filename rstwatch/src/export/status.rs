//! `/api/v1/status`: the data of the status page, as one JSON object; and `/api/v1/causes`: the table of causes.
//!
//! Only for the page: fields may change with it. Programs should read the metrics and the events.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{AppState, Shared};
use crate::capacity::{CapacitySnapshot, Listener};
use crate::kernel::probe::{Probe, Probes};
use crate::stats::aggregate::{BOUNDS, LossStage, Totals};
use crate::stats::timeline::Hour;
use rstwatch_verdict::cause::{Cause, Direction, TABLE};

/// Maximum listeners in the answer.
const MAX_LISTENERS: usize = 50;

/// Maximum conntrack tables of other namespaces in the answer.
const MAX_TABLES: usize = 5;

pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    Json(object(&shared.state)).into_response()
}

fn object(state: &AppState) -> Value {
    let now = Timestamp::now();
    let totals = state.totals();
    let capacity = state.capacity.get();
    json!({
        "time": now,
        "node": state.node,
        "version": state.build.version,
        "revision": state.build.revision,
        "object": state.build.object,
        "minutes": minutes(&state.timeline.last_hour(now)),
        "totals": sums(&totals),
        "idle": idle(&totals),
        "timeouts": state.idle_timeouts.shown(),
        "listeners": listeners(&capacity),
        "unattributed_overflows": capacity.unattributed_overflows,
        "folded_overflows": capacity.folded_overflows,
        "listeners_folded": capacity.listeners_folded + capacity.listeners_unlisted,
        "conntrack": capacity.conntrack,
        "conntrack_elsewhere": capacity.conntrack_elsewhere.iter().take(MAX_TABLES).collect::<Vec<_>>(),
        "conntrack_drops": capacity.conntrack_drops,
        "stack": capacity.stack,
        "probes": probes(&state.probes),
        "events": totals.events(),
        "out_rsts_difference": capacity.out_rsts_difference,
        "out_rsts_over": capacity.out_rsts_over,
        "netns_unreadable": capacity.netns_unreadable,
        "lost": lost(&totals, state.history.missed()),
    })
}

/// One direction and cause with its counts.
#[derive(Serialize)]
struct Row<T> {
    direction: Direction,
    cause: Cause,
    counts: T,
}

fn minutes(hour: &Hour) -> Value {
    let rows = hour.resets.iter().map(|row| Row { direction: row.direction, cause: row.cause, counts: &row.counts });
    json!({ "starts": hour.starts, "resets": rows.collect::<Vec<_>>() })
}

/// Resets since the agent started, including `unsampled`.
fn sums(totals: &Totals) -> Vec<Row<u64>> {
    let mut sums = BTreeMap::<(Cause, Direction), u64>::new();
    for (series, count) in totals.resets().filter(|(_, count)| *count > 0) {
        *sums.entry((series.cause, series.direction)).or_default() += count;
    }
    sums.into_iter().map(|((cause, direction), counts)| Row { direction, cause, counts }).collect()
}

/// Idle times by bucket; the last bucket counts those above every bound.
fn idle(totals: &Totals) -> Value {
    let rows = totals.idle().map(|(direction, cause, histogram)| {
        let counts: Vec<u64> = histogram.buckets().into_iter().map(|(_, count)| count).collect();
        Row { direction, cause, counts }
    });
    json!({ "bounds": BOUNDS, "resets": rows.collect::<Vec<_>>() })
}

/// The listeners whose queues are fullest in relation to their limits, most overflows first among equals.
fn listeners(capacity: &CapacitySnapshot) -> Vec<&Listener> {
    let mut listeners: Vec<_> = capacity.listeners.iter().collect();
    listeners.sort_by(|a, b| fill(a, b).reverse().then(b.overflows.cmp(&a.overflows)));
    listeners.truncate(MAX_LISTENERS);
    listeners
}

/// Compares queue lengths as fractions of their limits, without dividing. A queue accepts one connection more than its limit.
fn fill(a: &Listener, b: &Listener) -> std::cmp::Ordering {
    let cross = |length: &Listener, limit: &Listener| u64::from(length.length) * (u64::from(limit.limit) + 1);
    cross(a, b).cmp(&cross(b, a))
}

fn probes(Probes(probes): &Probes) -> Vec<Value> {
    let probe = |probe: &Probe| {
        let Probe { name, required, .. } = probe;
        let (state, missed, detail, degrades) = (probe.state(), probe.is_missed(), probe.detail(), probe.degrades());
        json!({ "name": name, "state": state, "missed": missed, "required": required, "detail": detail, "degrades": degrades })
    };
    probes.iter().map(probe).collect()
}

fn lost(totals: &Totals, follower: u64) -> BTreeMap<&'static str, u64> {
    let stages = LossStage::ALL.into_iter().map(|stage| (stage.as_str(), totals.lost(stage)));
    stages.chain([("follower", follower)]).collect()
}

/// The table behind `rstwatch explain`.
pub(super) async fn causes() -> Response {
    Json(TABLE).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_listeners_come_first_and_few_are_listed() {
        let listener = |port, length, limit| Listener {
            address: "0.0.0.0".into(),
            port,
            workload: None,
            netns: 1,
            sockets: 1,
            length,
            limit,
            overflows: u64::from(port),
        };
        // 100 of 129, 2 of 2, 0 of 129, 0 of 1.
        let some = [listener(1, 100, 128), listener(2, 2, 1), listener(3, 0, 128), listener(4, 0, 0)];
        let many = (0..100).map(|port| listener(1_000 + port, 1, u32::MAX));
        let capacity =
            CapacitySnapshot { listeners: some.into_iter().chain(many).collect(), ..CapacitySnapshot::default() };
        let ports: Vec<_> = listeners(&capacity).iter().map(|listener| listener.port).collect();
        assert_eq!((ports.len(), &ports[..3]), (MAX_LISTENERS, &[2, 1, 1_099][..]));
        let capacity = CapacitySnapshot { listeners: capacity.listeners[..4].to_vec(), ..CapacitySnapshot::default() };
        let ports: Vec<_> = listeners(&capacity).iter().map(|listener| listener.port).collect();
        assert_eq!(ports, [2, 1, 4, 3], "among empty queues, the one with more overflows");
    }
}
