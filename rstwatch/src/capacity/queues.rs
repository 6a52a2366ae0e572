//! All listeners: what is new at each, and which of it were overflows.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::CapacitySnapshot;
use super::attribution::{Attribution, OverflowCount, Pending, without_count};
use super::scanned_listener::ScannedListener;
use super::series::ListenerSeries;

/// Scans that may miss a listener before it is forgotten.
const MISSED_SCANS: u32 = 10;

type Id = (u64, u64);

/// State of listeners between scans.
#[derive(Debug)]
pub(super) struct Queues {
    listeners: HashMap<Id, Tracked>,
    /// By network namespace.
    attributions: BTreeMap<u32, Attribution>,
    series: ListenerSeries,
    unattributed: u64,
}

/// A listener, and how much of its counts is attributed.
#[derive(Debug)]
struct Tracked {
    seen: ScannedListener,
    /// The attributed part of [`ScannedListener::met_full`] and [`ScannedListener::drops`].
    attributed: (u64, u64),
    /// A scan found the queue full.
    full: bool,
    /// Scans since it was last seen.
    missed_scans: u32,
}

impl Tracked {
    fn new(seen: &ScannedListener) -> Self {
        Self { seen: seen.clone(), attributed: (0, 0), full: false, missed_scans: 0 }
    }

    fn is_pending(&self) -> bool {
        let Pending { seen, drops, full: _ } = self.pending();
        seen + drops > 0
    }

    fn pending(&self) -> Pending {
        let (met_full, drops) = self.attributed;
        let seen = self.seen.met_full.saturating_sub(met_full);
        Pending { seen, drops: self.seen.drops.saturating_sub(drops), full: self.full || seen > 0 }
    }
}

impl Queues {
    /// No listener yet; at most `limit` series.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            listeners: HashMap::new(),
            attributions: BTreeMap::new(),
            series: ListenerSeries::new(limit),
            unattributed: 0,
        }
    }

    /// Takes the listeners that a scan found. `None`: the kernel refused, so the present state is unknown.
    pub(super) fn update(&mut self, found: Option<&[ScannedListener]>) {
        let Some(found) = found else { return self.series.update(&[]) };
        self.listeners.values_mut().for_each(|listener| listener.missed_scans += 1);
        for seen in found {
            let listener = self.listeners.entry(seen.id).or_insert_with(|| Tracked::new(seen));
            listener.seen = seen.clone();
            listener.full |= seen.length > seen.limit;
            listener.missed_scans = 0;
        }
        // A walk over a changing table can miss a listener. It is kept for a while, or its counts would be attributed twice.
        self.listeners.retain(|_, listener| listener.missed_scans <= MISSED_SCANS || listener.is_pending());
        self.series.update(found);
    }

    /// Namespaces of listeners, with the processes that opened them.
    pub(super) fn owners(&self) -> HashSet<(u32, u32)> {
        self.listeners.values().map(|listener| (listener.seen.netns, listener.seen.pid)).collect()
    }

    /// Number of namespaces that have listeners and cannot be read.
    pub(super) fn count_unreadable(&self, is_readable: impl Fn(u32) -> bool) -> usize {
        let netns: HashSet<_> = self.listeners.values().map(|listener| listener.seen.netns).collect();
        netns.into_iter().filter(|netns| !is_readable(*netns)).count()
    }

    /// Drops the attribution state of namespaces that are gone, or may have been replaced by another with the same inode.
    pub(super) fn retain_namespaces(&mut self, is_same: impl Fn(u32) -> bool) {
        self.attributions.retain(|netns, _| is_same(*netns));
    }

    /// Whether a namespace was scanned before.
    pub(super) fn was_scanned(&self, netns: u32) -> bool {
        self.attributions.contains_key(&netns)
    }

    /// Attributes overflows to listeners. `counts`: of each readable namespace.
    pub(super) fn attribute(&mut self, counts: &BTreeMap<u32, OverflowCount>) {
        let mut by_netns: BTreeMap<u32, Vec<Id>> = counts.keys().map(|netns| (*netns, Vec::new())).collect();
        for (id, listener) in &self.listeners {
            by_netns.entry(listener.seen.netns).or_default().push(*id);
        }
        for (netns, ids) in by_netns {
            let pending: Vec<_> = ids.iter().map(|id| self.listeners[id].pending()).collect();
            let overflows = match counts.get(&netns) {
                Some(count) => {
                    let attributed = self.attributions.entry(netns).or_default().attribute(*count, &pending);
                    self.unattributed += attributed.unattributed;
                    attributed.overflows
                }
                None => Some(without_count(&pending)),
            };
            ids.iter().zip(overflows.into_iter().flatten()).for_each(|(id, count)| self.add_overflows(id, count));
        }
    }

    fn add_overflows(&mut self, id: &Id, overflows: u64) {
        let Some(listener) = self.listeners.get_mut(id) else { return };
        self.series.add_overflows(&listener.seen, overflows);
        listener.attributed = (listener.seen.met_full, listener.seen.drops);
        listener.full = false;
        if listener.seen.gone {
            self.listeners.remove(id);
        }
    }

    /// Fills in the listeners of a snapshot.
    pub(super) fn fill(&self, snapshot: &mut CapacitySnapshot) {
        snapshot.listeners = self.series.rows();
        snapshot.listeners_folded = self.series.folded();
        snapshot.folded_overflows = self.series.folded_overflows();
        snapshot.unattributed_overflows = self.unattributed;
    }
}
