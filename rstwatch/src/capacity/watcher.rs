//! Looks at queues and tables every second, on a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::kernel_side::KernelSide;
use super::ledger::Count;
use super::netns::{Namespaces, Readable, hosts, own};
use super::procfs::{Reading, setting, sockstat};
use super::queues::Queues;
use super::totals::{Look, Totals};
use super::{Capacity, Conntrack, ConntrackDrops, Snapshot, Stack};
use crate::kernel::clock::monotonic_ns;
use crate::kernel::scan::{PeriodicScan, every_second};
use crate::kernel::scope::Scope;
use crate::owner::Owners;

/// Other namespaces than the host's that are shown one by one, the fullest conntrack tables first.
const SHOWN_NETNS: usize = 64;
/// A look waits so long for owners that are not known yet.
const PATIENCE: Duration = Duration::from_millis(100);
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
    /// Those before the first look, and those that explained a difference that is over.
    missed_before: u64,
    last_look_ns: u64,
    namespaces: Namespaces,
    queues: Queues,
    totals: Totals,
    capacity: Arc<Capacity>,
    /// Names who listens.
    owners: Option<Owners>,
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
            missed_before: missed(),
            missed: Box::new(missed),
            last_look_ns: 0,
            namespaces: Namespaces::default(),
            queues: Queues::new(series),
            totals: Totals::default(),
            capacity,
            owners: None,
        }
    }

    /// Listeners' owners are named from now on; without, only their processes are known.
    pub fn named_by(self, owners: Owners) -> Self {
        Self { owners: Some(owners), ..self }
    }

    /// Looks now, and then every second until the guard is dropped.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(mut self) -> std::io::Result<PeriodicScan>
    where
        K: Send + 'static,
    {
        self.look();
        every_second("capacity", move || {
            self.look();
            true
        })
    }

    /// Listeners are looked at before the counters: what a listener had, its namespace has counted by then. Nothing slow comes
    /// between the two. Of a namespace that is seen for the first time both sides of the look are counted.
    fn look(&mut self) {
        let now = monotonic_ns();
        let tasks = self.kernel.tasks();
        let mut readable = self.namespaces.look(&self.proc, tasks.as_deref(), self.queues.owners());
        readable.retain(|it| self.watched(it.netns));
        let lasting: BTreeSet<_> = readable.iter().filter(|it| !it.fresh).map(|it| it.netns).collect();
        self.queues.forget(|netns| lasting.contains(&netns));
        let before = self.count_new(&readable);
        let mut listeners = self.kernel.listeners();
        let readings = self.read(&readable);
        self.queues.forget(|netns| readings.contains_key(&netns));
        if let (Some(owners), Some(listeners)) = (&self.owners, &mut listeners) {
            owners.name_all(listeners.iter_mut().map(|it| (&it.owner, &mut it.workload)), PATIENCE);
        }
        self.queues.take(listeners.as_deref());
        self.settle(&before, &readings);
        let host = hosts(&self.proc, tasks.as_deref());
        self.capacity.set(self.snapshot(&readings, host));
        self.totals.keep(readings);
        self.last_look_ns = now;
    }

    /// Overflows of the namespaces without books.
    fn count_new(&self, readable: &[Readable]) -> BTreeMap<u32, u64> {
        let new = readable.iter().filter(|it| self.has_books() && !self.queues.knows(it.netns));
        new.filter_map(|it| Some((it.netns, Reading::of(&it.net)?.listen_overflows()?))).collect()
    }

    fn settle(&mut self, before: &BTreeMap<u32, u64>, readings: &BTreeMap<u32, Reading>) {
        let known = readings.iter().filter(|_| self.has_books());
        let counts = known.filter_map(|(netns, reading)| {
            let now = reading.listen_overflows()?;
            Some((*netns, Count { before: before.get(netns).copied().unwrap_or(now), now }))
        });
        let counts = counts.collect();
        self.queues.settle(&counts);
    }

    /// The namespace counts what sockets outside a cgroup drop, too.
    fn has_books(&self) -> bool {
        self.scope.cgroup.is_none()
    }

    fn watched(&self, netns: u32) -> bool {
        self.scope.netns.is_empty() || self.scope.netns.contains(&netns)
    }

    /// Every namespace's counters. What is new against the last look goes to the totals.
    fn read(&mut self, readable: &[Readable]) -> BTreeMap<u32, Reading> {
        let (mut readings, limit, fewer) = (BTreeMap::new(), self.conntrack_limit(), self.totals.fewer());
        for Readable { netns, net, fresh } in readable {
            let (netns, fresh) = (*netns, *fresh);
            let before = self.kernel.sent(netns);
            let Some(reading) = Reading::of(net) else { continue };
            let sent = before.zip(self.kernel.sent(netns));
            let full = self.is_full(netns, &reading, limit);
            if full {
                self.kernel.conntrack_was_full(netns, monotonic_ns());
            }
            let now = Duration::from_nanos(monotonic_ns());
            self.totals.add(&Look { netns, fresh, reading: &reading, sent, full, now });
            readings.insert(netns, reading);
        }
        // What the kernel did not show has explained those, and explains nothing more.
        self.missed_before += self.missed_since().min(self.totals.fewer() - fewer);
        self.kernel.forget_sent(|netns| readings.contains_key(&netns));
        readings
    }

    /// Whether a conntrack table is full, or was since the last look: it evicts, a hook says so, or it drops while there is
    /// hardly room.
    fn is_full(&self, netns: u32, reading: &Reading, limit: Option<u64>) -> bool {
        let Some(last) = self.totals.last(netns) else { return false };
        let rose = |of: fn(&ConntrackDrops) -> Option<u64>| of(&reading.drops) > of(&last.drops);
        let nearly = |entries: Option<u64>| {
            limit.zip(entries).is_some_and(|(limit, n)| n.saturating_mul(100) >= limit.saturating_mul(NEARLY_FULL))
        };
        let hooked = self.kernel.conntrack_full_ns(netns) > self.last_look_ns;
        let drops = rose(|drops| drops.full) && (nearly(reading.entries) || nearly(last.entries));
        hooked || drops || rose(|drops| drops.early_drop)
    }

    fn missed_since(&self) -> u64 {
        (self.missed)().saturating_sub(self.missed_before)
    }

    fn conntrack_limit(&self) -> Option<u64> {
        setting(&self.proc.join("sys/net/netfilter/nf_conntrack_max"))
    }

    fn snapshot(&self, readings: &BTreeMap<u32, Reading>, host: Option<u32>) -> Snapshot {
        let entries = |netns: Option<u32>| readings.get(&netns?)?.entries;
        let conntrack = entries(host).zip(self.conntrack_limit()).map(|(entries, limit)| Conntrack { entries, limit });
        let mut snapshot = Snapshot {
            listeners_unlisted: self.kernel.unlisted(),
            conntrack,
            conntrack_elsewhere: elsewhere(readings, host),
            stack: self.stack(host),
            netns_readable: readings.len() as u64,
            netns_unreadable: self.queues.elsewhere(|netns| readings.contains_key(&netns)) as u64,
            ..Snapshot::default()
        };
        self.queues.show(&mut snapshot);
        self.totals.show(&mut snapshot, self.missed_since());
        if self.scope.cgroup.is_some() {
            // Ours is the cgroup's, the kernel's is not.
            snapshot.out_rsts_difference = None;
        }
        snapshot
    }

    /// Settings are those of the agent's own namespace; the limits of the whole machine are shown in its first one alone.
    fn stack(&self, host: Option<u32>) -> Stack {
        let sockstat_of = |task: &str| read_to_string(self.proc.join(task).join("net/sockstat"));
        let text = sockstat_of("1").or_else(|_| sockstat_of("self")).unwrap_or_default();
        let limit = |name: &str| setting(&self.proc.join("sys/net/ipv4").join(name));
        let bytes = |pages: u64| pages.saturating_mul(rustix::param::page_size() as u64);
        let watched = host.is_some_and(|host| self.watched(host));
        Stack {
            orphans: sockstat(&text, "orphan"),
            orphans_limit: limit("tcp_max_orphans"),
            time_wait: sockstat(&text, "tw").filter(|_| watched),
            time_wait_limit: limit("tcp_max_tw_buckets").filter(|_| watched && own(&self.proc) == host),
            memory_bytes: sockstat(&text, "mem").map(bytes),
            memory_limit_bytes: limit("tcp_mem").map(bytes),
        }
    }
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

#[cfg(test)]
mod tests;
