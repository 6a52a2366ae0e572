//! Looks at queues and tables every second, on a thread of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::read_to_string;
use std::path::PathBuf;
use std::sync::Arc;

use super::ledger::{Counted, Ledger, Pending, unread};
use super::netns::{Namespaces, Readable, hosts};
use super::procfs::{Counters, Reading, setting, sockstat};
use super::reconcile::Reconciled;
use super::series::Series;
use super::{Capacity, Conntrack, ConntrackDrops, Snapshot, Stack};
use crate::clock::monotonic_ns;
use crate::kernel::listeners::Seen;
use crate::kernel::scope::Scope;
use crate::kernel::tables::KernelSide;
use crate::looks::{Looking, every_second};

/// Namespaces of the host's that are shown one by one, the fullest conntrack tables first.
const SHOWN_NETNS: usize = 64;
/// So many looks may miss a listener before it is forgotten.
const MISSED_LOOKS: u32 = 10;
/// A table so full may have dropped for want of room, in percent.
const NEARLY_FULL: u64 = 95;

/// Everything that outlives a look.
pub struct Watcher<K> {
    /// Where /proc is.
    proc: PathBuf,
    kernel: K,
    scope: Scope,
    /// Sent resets that the kernel did not show to the programs, only counted.
    missed: Box<dyn Fn() -> u64 + Send>,
    namespaces: Namespaces,
    states: BTreeMap<u32, State>,
    /// What was dropped at each listener and is not yet told apart.
    open: HashMap<(u64, u64), Open>,
    series: Series,
    unattributed: u64,
    counters: Counters,
    drops: Option<ConntrackDrops>,
    last_look_ns: u64,
    capacity: Arc<Capacity>,
}

/// What is kept of a namespace between looks.
#[derive(Default)]
struct State {
    ledger: Ledger,
    reconciled: Reconciled,
    last: Option<Reading>,
}

/// A listener's drops.
struct Open {
    seen: Seen,
    /// Those that are told apart.
    settled: u32,
    full: bool,
    /// Looks since it was seen.
    unseen: u32,
}

impl Open {
    fn new(seen: &Seen) -> Self {
        Self { seen: seen.clone(), settled: 0, full: false, unseen: 0 }
    }

    fn pending(&self) -> Pending {
        Pending { drops: self.seen.drops.wrapping_sub(self.settled).into(), full: self.full }
    }
}

impl<K: KernelSide> Watcher<K> {
    /// Nothing seen yet. `missed`: resets that the kernel counted as not shown to the programs.
    pub fn new(
        kernel: K,
        scope: Scope,
        series: usize,
        missed: impl Fn() -> u64 + Send + 'static,
        capacity: Arc<Capacity>,
    ) -> Self {
        Self {
            proc: "/proc".into(),
            kernel,
            scope,
            missed: Box::new(missed),
            namespaces: Namespaces::default(),
            states: BTreeMap::new(),
            open: HashMap::new(),
            series: Series::new(series),
            unattributed: 0,
            counters: Counters::new(),
            drops: None,
            last_look_ns: 0,
            capacity,
        }
    }

    /// Looks now, and then every second until the guard is dropped.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(mut self) -> std::io::Result<Looking>
    where
        K: Send + 'static,
    {
        self.look();
        every_second("capacity", move || {
            self.look();
            true
        })
    }

    fn look(&mut self) {
        let now = monotonic_ns();
        self.listeners();
        let owners: Vec<_> = self.open.values().map(|open| (open.seen.netns, open.seen.pid)).collect();
        let mut readable = self.namespaces.look(&self.proc, owners);
        let watched = |netns: u32| self.scope.netns.is_empty() || self.scope.netns.contains(&netns);
        readable.retain(|it| watched(it.netns));
        let readings = self.read(&readable);
        self.settle(&readings);
        self.conntrack_was_full(&readings, now);
        self.publish(&readings);
        for (netns, reading) in readings {
            self.states.entry(netns).or_default().last = Some(reading);
        }
        self.last_look_ns = now;
    }

    /// What is new at each listener. Those that listen no more are in the books alone.
    fn listeners(&mut self) {
        let Some(seen) = self.kernel.listeners() else { return };
        self.open.values_mut().for_each(|open| open.unseen += 1);
        for listener in &seen {
            let full = listener.length > listener.limit || listener.full_ns > self.last_look_ns;
            let open = self.open.entry(listener.id).or_insert_with(|| Open::new(listener));
            open.seen = listener.clone();
            open.full |= full;
            open.unseen = 0;
        }
        // A walk over a table that changes meanwhile can miss one, whose drops must not be counted anew.
        self.open.retain(|_, open| open.unseen <= MISSED_LOOKS || open.pending().drops > 0);
        self.series.show(&seen);
    }

    /// Every namespace's counters. What is new against the last look goes to the totals.
    fn read(&mut self, readable: &[Readable]) -> BTreeMap<u32, Reading> {
        let mut readings = BTreeMap::new();
        for Readable { netns, net, fresh } in readable {
            let before = self.kernel.sent(*netns);
            let Some(reading) = Reading::of(net) else { continue };
            let after = self.kernel.sent(*netns);
            let state = self.states.entry(*netns).or_default();
            if *fresh {
                state.reconciled = Reconciled::default();
            }
            if let Some(kernel) = reading.counter("tcp_out_rsts") {
                state.reconciled.look(before, kernel, after);
            }
            let last = state.last.as_ref().unwrap_or(&reading);
            add_counters(&mut self.counters, &last.counters, &reading.counters);
            if reading.entries.is_some() {
                self.drops.get_or_insert_default().add(last.drops, reading.drops);
            }
            readings.insert(*netns, reading);
        }
        // What is not there has no books: a new namespace may get its inode.
        self.states.retain(|netns, _| readings.contains_key(netns));
        self.kernel.forget_sent(|netns| readings.contains_key(&netns));
        readings
    }

    /// Tells which drops were overflows.
    fn settle(&mut self, readings: &BTreeMap<u32, Reading>) {
        let mut by_netns: BTreeMap<u32, Vec<(u64, u64)>> = readings.keys().map(|netns| (*netns, Vec::new())).collect();
        for (id, open) in &self.open {
            by_netns.entry(open.seen.netns).or_default().push(*id);
        }
        for (netns, ids) in by_netns {
            let pending: Vec<_> = ids.iter().map(|id| self.open[id].pending()).collect();
            let counted = readings.get(&netns).and_then(counted);
            let overflows = match counted {
                // The namespace counts what sockets outside the cgroup drop, too.
                Some(counted) if self.scope.cgroup.is_none() => {
                    let settled = self.states.entry(netns).or_default().ledger.settle(counted, &pending);
                    self.unattributed += settled.unattributed;
                    settled.overflows
                }
                _ => Some(unread(&pending)),
            };
            for (id, count) in ids.iter().zip(overflows.into_iter().flatten()) {
                self.close(id, count);
            }
        }
    }

    fn close(&mut self, id: &(u64, u64), overflows: u64) {
        let Some(open) = self.open.get_mut(id) else { return };
        self.series.overflowed(&open.seen, overflows);
        open.settled = open.seen.drops;
        open.full = false;
        if open.seen.gone {
            self.open.remove(id);
        }
    }

    /// Where no hook tells that a table is full, its counters do, a look later.
    fn conntrack_was_full(&mut self, readings: &BTreeMap<u32, Reading>, now: u64) {
        let Some(limit) = self.conntrack_limit() else { return };
        for (netns, reading) in readings {
            let last = self.states.get(netns).and_then(|state| state.last.as_ref());
            let rose =
                |of: fn(&ConntrackDrops) -> Option<u64>| last.is_some_and(|last| of(&reading.drops) > of(&last.drops));
            let nearly = reading.entries.is_some_and(|entries| entries * 100 >= limit.saturating_mul(NEARLY_FULL));
            if rose(|drops| drops.early_drop) || (nearly && rose(|drops| drops.full)) {
                self.kernel.conntrack_was_full(*netns, now);
            }
        }
    }

    fn conntrack_limit(&self) -> Option<u64> {
        setting(&self.proc.join("sys/net/netfilter/nf_conntrack_max"))
    }

    fn publish(&self, readings: &BTreeMap<u32, Reading>) {
        let host = hosts(&self.proc);
        let entries = |netns: Option<u32>| readings.get(&netns?)?.entries;
        let conntrack = entries(host).zip(self.conntrack_limit()).map(|(entries, limit)| Conntrack { entries, limit });
        let here: HashSet<_> = self.open.values().map(|open| open.seen.netns).collect();
        self.capacity.set(Snapshot {
            listeners: self.series.rows(),
            listeners_folded: self.series.folded(),
            folded_overflows: self.series.others(),
            unattributed_overflows: self.unattributed,
            conntrack,
            conntrack_drops: self.drops,
            conntrack_elsewhere: elsewhere(readings, host),
            stack: self.stack(),
            counters: self.counters.clone(),
            out_rsts_difference: self.difference(),
            netns_readable: readings.len() as u64,
            netns_unreadable: here.iter().filter(|netns| !readings.contains_key(netns)).count() as u64,
        });
    }

    /// Ours less the kernel's. What the programs were not shown is in the kernel's alone.
    fn difference(&self) -> Option<i64> {
        if self.scope.cgroup.is_some() {
            return None;
        }
        let known: Vec<_> = self.states.values().filter_map(|state| state.reconciled.difference()).collect();
        let sum: i64 = known.iter().sum();
        let missed = i64::try_from((self.missed)()).unwrap_or(i64::MAX);
        let sum = if sum < 0 { sum.saturating_add(missed).min(0) } else { sum };
        (!known.is_empty()).then_some(sum)
    }

    fn stack(&self) -> Stack {
        let text = read_to_string(self.proc.join("1/net/sockstat"))
            .or_else(|_| read_to_string(self.proc.join("self/net/sockstat")))
            .unwrap_or_default();
        let limit = |name: &str| setting(&self.proc.join("sys/net/ipv4").join(name));
        let bytes = |pages: u64| pages.saturating_mul(rustix::param::page_size() as u64);
        Stack {
            orphans: sockstat(&text, "orphan"),
            orphans_limit: limit("tcp_max_orphans"),
            time_wait: sockstat(&text, "tw"),
            time_wait_limit: limit("tcp_max_tw_buckets"),
            memory_bytes: sockstat(&text, "mem").map(bytes),
            memory_limit_bytes: limit("tcp_mem").map(bytes),
        }
    }
}

fn counted(reading: &Reading) -> Option<Counted> {
    Some(Counted {
        overflows: reading.counter("tcp_ext_listen_overflows")?,
        drops: reading.counter("tcp_ext_listen_drops")?,
    })
}

/// Entries of the other namespaces' tables.
fn elsewhere(readings: &BTreeMap<u32, Reading>, host: Option<u32>) -> Vec<(u32, u64)> {
    let others = readings.iter().filter(|(netns, _)| Some(**netns) != host);
    let mut all: Vec<_> = others.filter_map(|(netns, reading)| Some((*netns, reading.entries?))).collect();
    all.retain(|(_, entries)| *entries > 0);
    all.sort_by_key(|(netns, entries)| (std::cmp::Reverse(*entries), *netns));
    all.truncate(SHOWN_NETNS);
    all
}

/// A counter that went back is that of another namespace, which has got the inode.
fn rise(last: u64, now: u64) -> u64 {
    now.checked_sub(last).unwrap_or(now)
}

fn add_counters(totals: &mut Counters, last: &Counters, now: &Counters) {
    for (name, value) in now {
        let total = totals.entry(name.clone()).or_default();
        *total += rise(last.get(name).copied().unwrap_or(0), *value);
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

#[cfg(test)]
mod tests;
