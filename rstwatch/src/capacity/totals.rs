//! What all network namespaces count, since the start.

use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Differences that are over: resets that we counted more, and fewer.
    over: (u64, u64),
}

/// One look at a namespace.
pub(super) struct Look<'a> {
    pub(super) netns: u32,
    /// It may be another namespace than the last time.
    pub(super) fresh: bool,
    pub(super) reading: &'a Reading,
    /// Our count of its sent resets, from before and after the reading; `None` where it cannot be read.
    pub(super) sent: Option<(u64, u64)>,
    /// Its conntrack table is full, or was since the last look.
    pub(super) full: bool,
    /// Since any moment.
    pub(super) now: Duration,
}

#[derive(Debug, Default)]
struct State {
    reconciled: Reconciled,
    last: Option<Reading>,
}

impl State {
    fn compare(&mut self, look: &Look<'_>) -> Option<i64> {
        let kernel = look.reading.counter("tcp_out_rsts")?;
        let (before, after) = look.sent?;
        self.reconciled.look(before, kernel, after, look.now)
    }
}

impl Totals {
    /// Takes a namespace's counters, and compares our count with its.
    pub(super) fn add(&mut self, look: &Look<'_>) {
        let Look { netns, fresh, reading, full, .. } = *look;
        let state = self.states.entry(netns).or_default();
        if fresh {
            *state = State::default();
        }
        if let Some(over) = state.compare(look) {
            tracing::warn!("network namespace {netns}: we counted {over:+} sent resets against TcpOutRsts");
            let (more, fewer) = &mut self.over;
            *(if over > 0 { more } else { fewer }) += over.unsigned_abs();
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

    /// Resets that we counted fewer than the kernel, by differences that are over.
    pub(super) fn fewer(&self) -> u64 {
        self.over.1
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
        snapshot.out_rsts_over = self.over;
    }
}

impl ConntrackDrops {
    /// `full`: the table was. Else the kernel's `drop` counts other things: two packets that made one entry, most of all, which are
    /// among `insert_failed` too (net/netfilter/nf_conntrack_core.c, nf_ct_resolve_clash).
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

/// What came to a sum over CPUs: if it fell, one CPU's value has wrapped.
fn rise(last: u64, now: u64) -> u64 {
    let wrapped = || now.saturating_add(CPU_WRAPS).checked_sub(last).filter(|rise| *rise < CPU_WRAPS / 2);
    now.checked_sub(last).or_else(wrapped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_from_a_table_with_room_is_no_full_table() {
        let at = |full| ConntrackDrops { full: Some(full), insert_failed: Some(full), ..ConntrackDrops::default() };
        let mut drops = ConntrackDrops::default();
        drops.add(at(5), at(7), false);
        assert_eq!((drops.full, drops.insert_failed), (Some(0), Some(2)));
        drops.add(at(7), at(8), true);
        assert_eq!((drops.full, drops.insert_failed), (Some(1), Some(3)));
    }

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
