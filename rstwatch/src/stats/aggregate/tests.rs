use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use rstwatch_verdict::cause::Confidence;
use rstwatch_verdict::event::{Controller, Workload, WorkloadKind};
use rstwatch_verdict::testing::sample;

fn event(direction: Direction, cause: Cause, workload: Option<u8>) -> Event {
    let mut event = sample::event(direction, cause, Sender::Peer, Confidence::Likely);
    event.workload = workload.map(|n| sample::workload(WorkloadKind::Pod, "shop", &format!("orders-{n}")));
    event
}

fn by_workload(totals: &Totals) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (series, count) in totals.resets() {
        *sums.entry(totals.labels(series.workload).workload.to_string()).or_default() += count;
    }
    sums
}

#[test]
fn beyond_the_limit_workloads_are_folded_and_counted() {
    let aggregate = Aggregate::new(2);
    for workload in [Some(0), Some(1), Some(2), Some(0), Some(3), None] {
        aggregate.record(&event(Direction::Received, Cause::Refused, workload));
    }
    let totals = aggregate.snapshot(|| None);
    let expected = [("", 1), ("_other", 2), ("orders-0", 2), ("orders-1", 1)];
    assert_eq!(by_workload(&totals), expected.map(|(name, n)| (name.to_owned(), n)).into());
    assert_eq!((totals.events(), totals.folded()), (6, 2));
    let other = totals.labels(WorkloadId::OTHER);
    assert_eq!((other.kind, &*other.namespace), ("", ""));
}

#[test]
fn a_lower_limit_removes_no_series() {
    let aggregate = Aggregate::new(2);
    aggregate.record(&event(Direction::Sent, Cause::Refused, Some(0)));
    aggregate.record(&event(Direction::Sent, Cause::Refused, Some(1)));
    aggregate.set_workload_limit(1);
    aggregate.record(&event(Direction::Sent, Cause::Refused, Some(1)));
    aggregate.record(&event(Direction::Sent, Cause::Refused, Some(2)));
    let sums = by_workload(&aggregate.snapshot(|| None));
    assert_eq!((sums["orders-1"], sums["_other"]), (2, 1));
}

#[test]
fn pods_are_counted_under_their_controller() {
    let aggregate = Aggregate::new(10);
    for pod in ["orders-7c9d-x1", "orders-7c9d-x2"] {
        let mut event = event(Direction::Sent, Cause::Refused, None);
        let controller = Some(Controller { kind: "Deployment".into(), name: "orders".into() });
        event.workload = Some(Workload { controller, ..sample::workload(WorkloadKind::Pod, "shop", pod) });
        aggregate.record(&event);
    }
    assert_eq!(by_workload(&aggregate.snapshot(|| None))["orders"], 2);
}

/// Ten thousand workloads on a node, and a hundred thousand short-lived containers.
#[test]
fn containers_leave_series_for_other_workloads() {
    let aggregate = Aggregate::new(1000);
    for n in 0..100_000 {
        let mut event = event(Direction::Sent, Cause::Refused, None);
        event.workload = Some(sample::workload(WorkloadKind::Container, "", &format!("{n:012x}")));
        aggregate.record(&event);
    }
    for n in 0..10_000 {
        let mut event = event(Direction::Sent, Cause::Refused, None);
        event.workload = Some(sample::workload(WorkloadKind::Pod, "shop", &format!("pod-{n}")));
        aggregate.record(&event);
    }
    let totals = aggregate.snapshot(|| None);
    let sums = by_workload(&totals);
    // Plus the unsampled resets, which have no owner, and `_other`.
    assert_eq!(sums.len(), 1000 + 2);
    assert_eq!(sums.keys().filter(|name| name.starts_with("pod-")).count(), 500);
    assert_eq!((sums["_other"], totals.folded()), (99_500 + 9_500, 109_000));
}

/// What happened to the event of a reset.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Delivered { cause: Cause, workload: Option<u8> },
    Lost(LossStage),
}

fn resets() -> impl Strategy<Value = Vec<(Direction, Fate)>> {
    let verdicts: Vec<_> = Cause::ALL.iter().copied().filter(|cause| *cause != Cause::Unsampled).collect();
    let delivered = (prop::sample::select(verdicts), prop::option::of(0..8u8))
        .prop_map(|(cause, workload)| Fate::Delivered { cause, workload });
    let lost = prop::sample::select(&LossStage::ALL[..]).prop_map(Fate::Lost);
    prop::collection::vec((prop::sample::select(Direction::ALL), prop_oneof![delivered, lost]), 0..200)
}

/// The kernel's counts after these resets.
fn kernel_after(resets: &[(Direction, Fate)]) -> KernelCounts {
    let mut counts = KernelCounts::default();
    for (direction, fate) in resets {
        counts.resets.push((*direction, "NO_SOCKET".into(), 1));
        if let Fate::Lost(stage) = fate {
            counts.undelivered.push((*direction, *stage, 1));
        }
    }
    counts
}

fn sum(totals: &Totals, direction: Direction) -> u64 {
    totals.resets().filter(|(series, _)| series.direction == direction).map(|(_, n)| n).sum()
}

fn kernel_sum(totals: &Totals, direction: Direction) -> u64 {
    totals.kernel_resets().filter(|(counted, _, _)| *counted == direction).map(|(_, _, n)| n).sum()
}

proptest! {
    #[test]
    fn the_sum_over_cause_equals_the_kernels_count(resets in resets(), limit in 0..6usize, stale in any::<prop::sample::Index>()) {
        let aggregate = Aggregate::new(limit);
        let mut before = BTreeMap::new();
        for (n, (direction, fate)) in resets.iter().enumerate() {
            if let Fate::Delivered { cause, workload } = *fate {
                aggregate.record(&event(*direction, cause, workload));
            }
            let totals = aggregate.snapshot(|| Some(kernel_after(&resets[..=n])));
            let now: BTreeMap<_, _> = totals.resets().collect();
            prop_assert!(before.iter().all(|(series, count)| now[series] >= *count), "a counter went backwards");
            before = now;
        }
        // A stale reading changes nothing.
        let stale = kernel_after(&resets[..stale.index(resets.len() + 1)]);
        let totals = aggregate.snapshot(|| Some(stale));
        for direction in Direction::ALL {
            let happened = resets.iter().filter(|(happened, _)| happened == direction).count();
            prop_assert_eq!(sum(&totals, *direction), u64::try_from(happened)?);
            prop_assert_eq!(kernel_sum(&totals, *direction), u64::try_from(happened)?);
        }
        let named = by_workload(&totals).into_keys().filter(|name| name.starts_with("orders-")).count();
        prop_assert!(named <= limit);
    }
}
