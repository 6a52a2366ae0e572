//! Counters of all network namespaces, summed since the agent started.

use std::collections::BTreeMap;
use std::time::Duration;

use super::procfs::{Counters, Reading};
use super::reconcile::Reconciliation;
use super::{CapacitySnapshot, ConntrackDrops};

/// Conntrack counters of a CPU are 32 bits wide.
const CPU_WRAPS: u64 = 1 << 32;

/// The sums, and the last reading of each namespace.
#[derive(Debug, Default)]
pub(super) struct NamespaceTotals {
    states: BTreeMap<u32, State>,
    counters: Counters,
    drops: Option<ConntrackDrops>,
    /// Sent resets in differences that were written off: (counted only by the agent, counted only by the kernel).
    written_off: (u64, u64),
}

/// One scan of a namespace.
pub(super) struct NamespaceScan<'a> {
    pub(super) netns: u32,
    /// The inode may belong to another namespace than at the last scan.
    pub(super) fresh: bool,
    pub(super) reading: &'a Reading,
    /// The agent's count of sent resets, before and after the reading; `None` if it cannot be read.
    pub(super) sent: Option<(u64, u64)>,
    /// Its conntrack table is full, or was since the last scan.
    pub(super) full: bool,
    /// Time since any fixed moment.
    pub(super) now: Duration,
}

#[derive(Debug, Default)]
struct State {
    reconciliation: Reconciliation,
    last: Option<Reading>,
}

impl State {
    fn compare(&mut self, scan: &NamespaceScan<'_>) -> Option<i64> {
        let kernel = scan.reading.counter("tcp_out_rsts")?;
        let (before, after) = scan.sent?;
        self.reconciliation.compare(before, kernel, after, scan.now)
    }
}

impl NamespaceTotals {
    /// Adds the growth of a namespace's counters, and compares the agent's count with the kernel's.
    pub(super) fn add(&mut self, scan: &NamespaceScan<'_>) {
        let NamespaceScan { netns, fresh, reading, full, .. } = *scan;
        let state = self.states.entry(netns).or_default();
        if fresh {
            *state = State::default();
        }
        if let Some(difference) = state.compare(scan) {
            tracing::warn!(
                "network namespace {netns}: the count of sent resets has differed from TcpOutRsts by {difference:+} for five minutes"
            );
            let (more, fewer) = &mut self.written_off;
            *(if difference > 0 { more } else { fewer }) += difference.unsigned_abs();
        }
        let last = state.last.as_ref().unwrap_or(reading);
        for (name, value) in &reading.counters {
            let last = last.counter(name).unwrap_or(*value);
            *self.counters.entry(name.clone()).or_default() += value.saturating_sub(last);
        }
        if reading.entries.is_some() {
            self.drops.get_or_insert_default().add(last.drops, reading.drops, full);
        }
    }

    /// Sent resets that only the kernel counted, in differences that were written off.
    pub(super) fn fewer(&self) -> u64 {
        self.written_off.1
    }

    /// Keeps a scan's readings for the next one. Other namespaces are forgotten, because a new one may get their inode.
    pub(super) fn keep(&mut self, readings: BTreeMap<u32, Reading>) {
        self.states.retain(|netns, _| readings.contains_key(netns));
        for (netns, reading) in readings {
            self.states.entry(netns).or_default().last = Some(reading);
        }
    }

    /// The reading of the last scan.
    pub(super) fn last(&self, netns: u32) -> Option<&Reading> {
        self.states.get(&netns)?.last.as_ref()
    }

    /// The agent's count minus the kernel's, over all namespaces. `missed` resets, which the kernel did not show to the
    /// programs, do not count as a difference. If the agent counted more in some namespaces and fewer in others, the larger
    /// of the two sums.
    fn difference(&self, missed: u64) -> Option<i64> {
        let known: Vec<_> = self.states.values().filter_map(|state| state.reconciliation.difference()).collect();
        let more: i64 = known.iter().filter(|it| **it > 0).sum();
        let less: i64 = known.iter().filter(|it| **it < 0).sum();
        let less = less.saturating_add_unsigned(missed).min(0);
        (!known.is_empty()).then_some(if more >= -less { more } else { less })
    }

    /// Fills in the counters of a snapshot.
    pub(super) fn fill(&self, snapshot: &mut CapacitySnapshot, missed: u64) {
        snapshot.counters = self.counters.clone();
        snapshot.conntrack_drops = self.drops;
        snapshot.out_rsts_difference = self.difference(missed);
        snapshot.out_rsts_over = self.written_off;
    }
}

impl ConntrackDrops {
    /// Adds the growth of each counter. `full`: whether the table was full. Otherwise the kernel's `drop` counts something
    /// else, mostly two packets that created the same entry; `insert_failed` counts these too
    /// (net/netfilter/nf_conntrack_core.c, nf_ct_resolve_clash).
    fn add(&mut self, last: Self, now: Self, full: bool) {
        let add = |total: &mut Option<u64>, last: Option<u64>, now: Option<u64>| {
            if let Some(now) = now {
                *total.get_or_insert(0) += rise(last.unwrap_or(now), now);
            }
        };
        add(&mut self.full, if full { last.full } else { now.full }, now.full);
        add(&mut self.early_drop, last.early_drop, now.early_drop);
        add(&mut self.insert_failed, last.insert_failed, now.insert_failed);
        add(&mut self.invalid, last.invalid, now.invalid);
    }
}

/// Growth of a sum over CPUs. If the sum fell, the counter of one CPU wrapped.
fn rise(last: u64, now: u64) -> u64 {
    let wrapped = || now.saturating_add(CPU_WRAPS).checked_sub(last).filter(|rise| *rise < CPU_WRAPS / 2);
    now.checked_sub(last).or_else(wrapped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_count_as_full_only_while_the_table_is_full() {
        let at = |full| ConntrackDrops { full: Some(full), insert_failed: Some(full), ..ConntrackDrops::default() };
        let mut drops = ConntrackDrops::default();
        drops.add(at(5), at(7), false);
        assert_eq!((drops.full, drops.insert_failed), (Some(0), Some(2)));
        drops.add(at(7), at(8), true);
        assert_eq!((drops.full, drops.insert_failed), (Some(1), Some(3)));
    }

    #[test]
    fn a_fallen_sum_wrapped() {
        for (last, now, expected) in [
            (5, 7, 2),
            (CPU_WRAPS - 1 + 40, 44, 5),
            (3 * CPU_WRAPS, 2 * CPU_WRAPS + 1, 1),
            // Too far for a wrap: the counter was reset.
            (50, 7, 0),
        ] {
            assert_eq!(rise(last, now), expected, "{last} {now}");
        }
    }
}
