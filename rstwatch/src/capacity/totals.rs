//! What all network namespaces count, since the start.

use std::collections::BTreeMap;

use super::procfs::{Counters, Reading};
use super::reconcile::Reconciled;
use super::{ConntrackDrops, Snapshot};

/// Values of one CPU's conntrack counters are 32 bits wide.
const CPU_WRAPS: u64 = 1 << 32;

/// The sums, and what each namespace had at the last look.
#[derive(Debug, Default)]
pub(super) struct Totals {
    states: BTreeMap<u32, State>,
    counters: Counters,
    drops: Option<ConntrackDrops>,
}

#[derive(Debug, Default)]
struct State {
    reconciled: Reconciled,
    last: Option<Reading>,
}

impl Totals {
    /// Takes a namespace's counters, and our count of its sent resets from before and after they were read. `fresh`: it may
    /// be another namespace than the last time.
    pub(super) fn add(&mut self, netns: u32, fresh: bool, reading: &Reading, (before, after): (u64, u64)) {
        let state = self.states.entry(netns).or_default();
        if fresh {
            *state = State::default();
        }
        if let Some(kernel) = reading.counter("tcp_out_rsts")
            && let Some(forgiven) = state.reconciled.look(before, kernel, after)
        {
            tracing::warn!("network namespace {netns}: we counted {forgiven:+} sent resets against TcpOutRsts");
        }
        let last = state.last.as_ref().unwrap_or(reading);
        for (name, value) in &reading.counters {
            let last = last.counter(name).unwrap_or(*value);
            *self.counters.entry(name.clone()).or_default() += value.saturating_sub(last);
        }
        if reading.entries.is_some() {
            self.drops.get_or_insert_default().add(last.drops, reading.drops);
        }
    }

    /// Keeps a look's readings for the next. What is not among them has no past: a new namespace may get its inode.
    pub(super) fn keep(&mut self, readings: BTreeMap<u32, Reading>) {
        self.states.retain(|netns, _| readings.contains_key(netns));
        for (netns, reading) in readings {
            self.states.entry(netns).or_default().last = Some(reading);
        }
    }

    /// The reading before this look's.
    pub(super) fn last(&self, netns: u32) -> Option<&Reading> {
        self.states.get(&netns)?.last.as_ref()
    }

    /// Our count less the kernel's, over all namespaces; `missed`: how many the kernel did not show to the programs. Where
    /// some have more and some less, the larger of both sums.
    fn difference(&self, missed: u64) -> Option<i64> {
        let known: Vec<_> = self.states.values().filter_map(|state| state.reconciled.difference()).collect();
        let more: i64 = known.iter().filter(|it| **it > 0).sum();
        let less: i64 = known.iter().filter(|it| **it < 0).sum();
        let less = less.saturating_add_unsigned(missed).min(0);
        (!known.is_empty()).then_some(if more >= -less { more } else { less })
    }

    /// What is shown of them.
    pub(super) fn show(&self, snapshot: &mut Snapshot, missed: u64) {
        snapshot.counters = self.counters.clone();
        snapshot.conntrack_drops = self.drops;
        snapshot.out_rsts_difference = self.difference(missed);
    }
}

impl ConntrackDrops {
    fn add(&mut self, last: Self, now: Self) {
        let add = |total: &mut Option<u64>, last: Option<u64>, now: Option<u64>| {
            if let Some(now) = now {
                *total.get_or_insert(0) += rise(last.unwrap_or(now), now);
            }
        };
        add(&mut self.full, last.full, now.full);
        add(&mut self.early_drop, last.early_drop, now.early_drop);
        add(&mut self.insert_failed, last.insert_failed, now.insert_failed);
        add(&mut self.invalid, last.invalid, now.invalid);
    }
}

/// What came to a sum over CPUs: if it fell, one CPU's value has wrapped.
fn rise(last: u64, now: u64) -> u64 {
    let wrapped = || now.saturating_add(CPU_WRAPS).checked_sub(last).filter(|rise| *rise < CPU_WRAPS / 2);
    now.checked_sub(last).or_else(wrapped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_fell_has_wrapped() {
        for (last, now, expected) in [
            (5, 7, 2),
            (CPU_WRAPS - 1 + 40, 44, 5),
            (3 * CPU_WRAPS, 2 * CPU_WRAPS + 1, 1),
            // That is no wrap: somebody set it back.
            (50, 7, 0),
        ] {
            assert_eq!(rise(last, now), expected, "{last} {now}");
        }
    }
}
