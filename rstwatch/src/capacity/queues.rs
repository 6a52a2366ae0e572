//! The books of all listeners: what was new at each, and whose overflows were whose.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ledger::{Count, Ledger, Pending, unread};
use super::seen::Seen;
use super::series::Series;
use super::{Listener, Snapshot};

/// So many looks may miss a listener before it is forgotten.
const MISSED_LOOKS: u32 = 10;

type Id = (u64, u64);

/// Everything about listeners that outlives a look.
#[derive(Debug)]
pub(super) struct Queues {
    open: HashMap<Id, Open>,
    ledgers: BTreeMap<u32, Ledger>,
    series: Series,
    unattributed: u64,
}

/// What was new at a listener and is not yet told.
#[derive(Debug)]
struct Open {
    seen: Seen,
    /// Of [`Seen::met_full`] and [`Seen::drops`], what is told.
    settled: (u64, u64),
    /// A look found the queue full.
    full: bool,
    /// Looks since it was seen.
    unseen: u32,
}

impl Open {
    fn new(seen: &Seen) -> Self {
        Self { seen: seen.clone(), settled: (0, 0), full: false, unseen: 0 }
    }

    fn is_pending(&self) -> bool {
        let Pending { seen, drops, full: _ } = self.pending();
        seen + drops > 0
    }

    fn pending(&self) -> Pending {
        let (met_full, drops) = self.settled;
        let seen = self.seen.met_full.saturating_sub(met_full);
        Pending { seen, drops: self.seen.drops.saturating_sub(drops), full: self.full || seen > 0 }
    }
}

impl Queues {
    /// No listener yet; at most so many series.
    pub(super) fn new(series: usize) -> Self {
        Self { open: HashMap::new(), ledgers: BTreeMap::new(), series: Series::new(series), unattributed: 0 }
    }

    /// Takes what a look at the listeners found. `None`: the kernel did not say, so nothing is known of now.
    pub(super) fn take(&mut self, seen: Option<&[Seen]>) {
        let Some(seen) = seen else { return self.series.show(&[]) };
        self.open.values_mut().for_each(|open| open.unseen += 1);
        for listener in seen {
            let open = self.open.entry(listener.id).or_insert_with(|| Open::new(listener));
            open.seen = listener.clone();
            open.full |= listener.length > listener.limit;
            open.unseen = 0;
        }
        // A walk over a table that changes meanwhile can miss one, whose counts must not be taken anew.
        self.open.retain(|_, open| open.unseen <= MISSED_LOOKS || open.is_pending());
        self.series.show(seen);
    }

    /// Namespaces of listeners, with the processes that opened them.
    pub(super) fn owners(&self) -> HashSet<(u32, u32)> {
        self.open.values().map(|open| (open.seen.netns, open.seen.pid)).collect()
    }

    /// Namespaces of listeners that are not among those.
    pub(super) fn elsewhere(&self, readable: impl Fn(u32) -> bool) -> usize {
        let netns: HashSet<_> = self.open.values().map(|open| open.seen.netns).collect();
        netns.into_iter().filter(|netns| !readable(*netns)).count()
    }

    /// A namespace is not known any more, or is another one: its books begin anew.
    pub(super) fn forget(&mut self, known: impl Fn(u32) -> bool) {
        self.ledgers.retain(|netns, _| known(*netns));
    }

    /// There are books of this namespace already.
    pub(super) fn knows(&self, netns: u32) -> bool {
        self.ledgers.contains_key(&netns)
    }

    /// Tells whose the overflows were. `counts`: of each namespace that can be read.
    pub(super) fn settle(&mut self, counts: &BTreeMap<u32, Count>) {
        let mut by_netns: BTreeMap<u32, Vec<Id>> = counts.keys().map(|netns| (*netns, Vec::new())).collect();
        for (id, open) in &self.open {
            by_netns.entry(open.seen.netns).or_default().push(*id);
        }
        for (netns, ids) in by_netns {
            let pending: Vec<_> = ids.iter().map(|id| self.open[id].pending()).collect();
            let overflows = match counts.get(&netns) {
                Some(count) => {
                    let settled = self.ledgers.entry(netns).or_default().settle(*count, &pending);
                    self.unattributed += settled.unattributed;
                    settled.overflows
                }
                None => Some(unread(&pending)),
            };
            ids.iter().zip(overflows.into_iter().flatten()).for_each(|(id, count)| self.close(id, count));
        }
    }

    fn close(&mut self, id: &Id, overflows: u64) {
        let Some(open) = self.open.get_mut(id) else { return };
        self.series.overflowed(&open.seen, overflows);
        open.settled = (open.seen.met_full, open.seen.drops);
        open.full = false;
        if open.seen.gone {
            self.open.remove(id);
        }
    }

    /// What is shown of them.
    pub(super) fn show(&self, snapshot: &mut Snapshot) {
        let rows: Vec<Listener> = self.series.rows();
        snapshot.listeners = rows;
        snapshot.listeners_folded = self.series.folded();
        snapshot.folded_overflows = self.series.others();
        snapshot.unattributed_overflows = self.unattributed;
    }
}
