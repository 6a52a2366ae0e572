//! Scans queues and tables every second, on a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::attribution::OverflowCount;
use super::kernel_side::KernelSide;
use super::netns::{Namespaces, Readable, host_netns, own_netns};
use super::procfs::{Reading, setting, sockstat};
use super::queues::Queues;
use super::totals::{NamespaceScan, NamespaceTotals};
use super::{Capacity, CapacitySnapshot, Conntrack, ConntrackDrops, Stack};
use crate::identity::owner::Owners;
use crate::kernel::clock::monotonic_ns;
use crate::kernel::scan::{NOTICE, PeriodicScan, every_second};
use crate::kernel::scope::Scope;

/// Maximum conntrack tables exported one by one besides the host's, the fullest first.
const SHOWN_NETNS: usize = 64;
/// How long a scan waits for owners that are not known yet.
const OWNER_WAIT: Duration = Duration::from_millis(100);
/// A table filled to this percentage may have dropped packets because it was full.
const NEARLY_FULL_PERCENT: u64 = 95;

/// State between scans.
pub struct Scanner<K> {
    /// Path of /proc.
    proc: PathBuf,
    kernel: K,
    scope: Scope,
    /// Sent resets that the kernel counted, but did not show to the programs.
    missed: Box<dyn Fn() -> u64 + Send>,
    /// Those before the first scan, and those that explained a difference that was written off.
    missed_before: u64,
    last_scan_ns: u64,
    namespaces: Namespaces,
    queues: Queues,
    totals: NamespaceTotals,
    capacity: Arc<Capacity>,
    /// Names the owners of listeners.
    owners: Option<Owners>,
}

impl<K: KernelSide> Scanner<K> {
    /// Nothing scanned yet. `series`: maximum listeners with series of their own; `missed`: resets that the kernel counted, but
    /// did not show to the programs.
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
            last_scan_ns: 0,
            namespaces: Namespaces::default(),
            queues: Queues::new(series),
            totals: NamespaceTotals::default(),
            capacity,
            owners: None,
        }
    }

    /// Names the owners of listeners. Without this only their processes are known.
    pub fn named_by(self, owners: Owners) -> Self {
        Self { owners: Some(owners), ..self }
    }

    /// Scans now, and then every second until the guard is dropped.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(mut self) -> std::io::Result<PeriodicScan>
    where
        K: Send + 'static,
    {
        self.scan();
        every_second("capacity", NOTICE, move || {
            self.scan();
            true
        })
    }

    /// Listeners are read before the counters: the namespace's count then contains each overflow that a listener saw. Nothing
    /// slow happens in between. At the first scan of a namespace its count is also read before the listeners.
    fn scan(&mut self) {
        let now = monotonic_ns();
        let tasks = self.kernel.tasks();
        let mut readable = self.namespaces.scan(&self.proc, tasks.as_deref(), self.queues.owners());
        readable.retain(|it| self.is_watched(it.netns));
        let lasting: BTreeSet<_> = readable.iter().filter(|it| !it.fresh).map(|it| it.netns).collect();
        self.queues.retain_namespaces(|netns| lasting.contains(&netns));
        let before = self.count_new(&readable);
        let mut listeners = self.kernel.listeners();
        let readings = self.read(&readable);
        self.queues.retain_namespaces(|netns| readings.contains_key(&netns));
        if let (Some(owners), Some(listeners)) = (&self.owners, &mut listeners) {
            owners.name_all(listeners.iter_mut().map(|it| (&it.owner, &mut it.workload)), OWNER_WAIT);
        }
        self.queues.update(listeners.as_deref());
        self.attribute(&before, &readings);
        let host = host_netns(&self.proc, tasks.as_deref());
        self.capacity.set(self.snapshot(&readings, host));
        self.totals.keep(readings);
        self.last_scan_ns = now;
    }

    /// Overflows of the namespaces that are scanned for the first time.
    fn count_new(&self, readable: &[Readable]) -> BTreeMap<u32, u64> {
        let new = readable.iter().filter(|it| self.attributes() && !self.queues.was_scanned(it.netns));
        new.filter_map(|it| Some((it.netns, Reading::of(&it.net)?.listen_overflows()?))).collect()
    }

    fn attribute(&mut self, before: &BTreeMap<u32, u64>, readings: &BTreeMap<u32, Reading>) {
        let known = readings.iter().filter(|_| self.attributes());
        let counts = known.filter_map(|(netns, reading)| {
            let now = reading.listen_overflows()?;
            Some((*netns, OverflowCount { before: before.get(netns).copied().unwrap_or(now), now }))
        });
        let counts = counts.collect();
        self.queues.attribute(&counts);
    }

    /// Whether overflows are attributed by the namespace's count. With `--cgroup` they are not, because that count includes
    /// sockets outside the cgroup.
    fn attributes(&self) -> bool {
        self.scope.cgroup.is_none()
    }

    fn is_watched(&self, netns: u32) -> bool {
        self.scope.has_netns(netns)
    }

    /// Reads every namespace's counters, and adds their growth since the last scan to the totals.
    fn read(&mut self, readable: &[Readable]) -> BTreeMap<u32, Reading> {
        let (mut readings, limit, fewer) = (BTreeMap::new(), self.conntrack_limit(), self.totals.fewer());
        for Readable { netns, net, fresh } in readable {
            let (netns, fresh) = (*netns, *fresh);
            let before = self.kernel.sent(netns);
            let Some(reading) = Reading::of(net) else { continue };
            // With a cgroup filter the agent counts the cgroup's resets, and the kernel those of the whole namespace.
            let comparable = self.scope.cgroup.is_none();
            let sent = before.zip(self.kernel.sent(netns)).filter(|_| comparable);
            let full = self.is_full(netns, &reading, limit);
            if full {
                self.kernel.conntrack_was_full(netns, monotonic_ns());
            }
            let now = Duration::from_nanos(monotonic_ns());
            self.totals.add(&NamespaceScan { netns, fresh, reading: &reading, sent, full, now });
            readings.insert(netns, reading);
        }
        // Missed resets explained the differences just written off; they must not explain another one.
        self.missed_before += self.missed_since().min(self.totals.fewer() - fewer);
        self.kernel.forget_sent(|netns| readings.contains_key(&netns));
        readings
    }

    /// Whether a conntrack table is full, or was since the last scan: it evicted entries, a hook reported it, or packets were
    /// dropped while it was nearly full.
    fn is_full(&self, netns: u32, reading: &Reading, limit: Option<u64>) -> bool {
        let Some(last) = self.totals.last(netns) else { return false };
        let rose = |of: fn(&ConntrackDrops) -> Option<u64>| of(&reading.drops) > of(&last.drops);
        let nearly = |entries: Option<u64>| {
            limit
                .zip(entries)
                .is_some_and(|(limit, n)| n.saturating_mul(100) >= limit.saturating_mul(NEARLY_FULL_PERCENT))
        };
        let hooked = self.kernel.conntrack_full_ns(netns) > self.last_scan_ns;
        let drops = rose(|drops| drops.full) && (nearly(reading.entries) || nearly(last.entries));
        hooked || drops || rose(|drops| drops.early_drop)
    }

    fn missed_since(&self) -> u64 {
        (self.missed)().saturating_sub(self.missed_before)
    }

    fn conntrack_limit(&self) -> Option<u64> {
        setting(&self.proc.join("sys/net/netfilter/nf_conntrack_max"))
    }

    fn snapshot(&self, readings: &BTreeMap<u32, Reading>, host: Option<u32>) -> CapacitySnapshot {
        let entries = |netns: Option<u32>| readings.get(&netns?)?.entries;
        let conntrack = entries(host).zip(self.conntrack_limit()).map(|(entries, limit)| Conntrack { entries, limit });
        let mut snapshot = CapacitySnapshot {
            listeners_unlisted: self.kernel.unlisted(),
            conntrack,
            conntrack_elsewhere: elsewhere(readings, host),
            stack: self.stack(host),
            netns_readable: readings.len() as u64,
            netns_unreadable: self.queues.count_unreadable(|netns| readings.contains_key(&netns)) as u64,
            ..CapacitySnapshot::default()
        };
        self.queues.fill(&mut snapshot);
        self.totals.fill(&mut snapshot, self.missed_since());
        if self.scope.cgroup.is_some() {
            // The agent counts the cgroup's resets, the kernel those of the whole namespace.
            snapshot.out_rsts_difference = None;
        }
        snapshot
    }

    /// /proc/sys shows the limits of the agent's own namespace, so the host's TIME_WAIT limit is known only if that is the host's.
    fn stack(&self, host: Option<u32>) -> Stack {
        let sockstat_of = |task: &str| read_to_string(self.proc.join(task).join("net/sockstat"));
        let text = sockstat_of("1").or_else(|_| sockstat_of("self")).unwrap_or_default();
        let limit = |name: &str| setting(&self.proc.join("sys/net/ipv4").join(name));
        let bytes = |pages: u64| pages.saturating_mul(rustix::param::page_size() as u64);
        let watched = host.is_some_and(|host| self.is_watched(host));
        Stack {
            orphans: sockstat(&text, "orphan"),
            orphans_limit: limit("tcp_max_orphans"),
            time_wait: sockstat(&text, "tw").filter(|_| watched),
            time_wait_limit: limit("tcp_max_tw_buckets").filter(|_| watched && own_netns(&self.proc) == host),
            memory_bytes: sockstat(&text, "mem").map(bytes),
            memory_limit_bytes: limit("tcp_mem").map(bytes),
        }
    }
}

/// Entries in the tables of other namespaces than the host's.
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
