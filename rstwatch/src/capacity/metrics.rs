//! Metrics of queues and tables that fill up. A metric whose source cannot be read is absent, never 0.

use std::fmt;

use super::{CapacitySnapshot, ConntrackDrops, Listener};
use crate::metric::{Family, Label, Unit, Writer};
use crate::stats::aggregate::Labels;
use crate::stats::aggregate::metrics::{NAMESPACE, WORKLOAD, WORKLOAD_KIND};

pub mod counters;

const ADDRESS: Label = Label::new("address", "address that a listener is bound to; `0.0.0.0` or `::`: any address");
const PORT: Label = Label::new("port", "port that a listener is bound to");
const LISTENER: &[Label] = &[ADDRESS, PORT, WORKLOAD_KIND, NAMESPACE, WORKLOAD];
const DROP_KIND: Label = Label::new(
    "kind",
    "the column of /proc/net/stat/nf_conntrack; `full`: its column `drop`, counted only while the table was full",
);
const NETNS: Label =
    Label::new("netns", "inode of a network namespace, as `lsns -t net` and the link /proc/PID/ns/net show it");
const COUNTED: Label = Label::new("counted", "whether the agent counted `more` resets than the kernel, or `fewer`");
const STATE: Label =
    Label::new("state", "`readable`: the namespace's counters can be read in /proc; `unreadable`: they cannot");

/// Accept queues.
pub const LISTENERS: &[Family<CapacitySnapshot>] = &[
    Family::gauge(
        "listen_queue_length",
        "Connections in the listener's accept queue (sk_ack_backlog in struct sock); the fullest queue if several sockets share the labels.",
        |it, out| queue(it, out, |listener| listener.length),
    )
    .labels(LISTENER),
    Family::gauge(
        "listen_queue_limit",
        "Maximum connections in the same accept queue (sk_max_ack_backlog in struct sock, the smaller of listen()'s backlog and net.core.somaxconn); the kernel accepts one more.",
        |it, out| queue(it, out, |listener| listener.limit),
    )
    .labels(LISTENER),
    Family::counter(
        "listen_overflows",
        "Connections dropped because the listener's accept queue was full (TcpExt ListenOverflows, attributed to listeners), since the agent started. The series without an address are overflows of unknown listeners and, as workload _other, of those beyond the limit.",
        listen_overflows,
    )
    .labels(LISTENER),
    Family::gauge(
        "listeners_folded",
        "Listeners without series of their own, because the limit of listeners was reached.",
        |it, out| out.gauge(Some(it.listeners_folded)),
    ),
    Family::counter(
        "listeners_unlisted",
        "Listeners that were not recorded since the agent started, because the eBPF map of listeners was full.",
        |it, out| out.count(Some(it.listeners_unlisted)),
    ),
];

/// Connection tracking.
pub const CONNTRACK: &[Family<CapacitySnapshot>] = &[
    Family::gauge(
        "conntrack_entries",
        "Entries in the conntrack table of the host's network namespace (entries in /proc/net/stat/nf_conntrack).",
        |it, out| out.gauge(it.conntrack.map(|table| table.entries)),
    ),
    Family::gauge(
        "conntrack_limit",
        "Maximum entries in the conntrack table of a network namespace (sysctl net.netfilter.nf_conntrack_max).",
        |it, out| out.gauge(it.conntrack.map(|table| table.limit)),
    ),
    Family::counter(
        "conntrack_drops",
        "Packets and entries lost by connection tracking (/proc/net/stat/nf_conntrack), summed over readable network namespaces since the agent started: packets dropped while the table was full (full), entries evicted from it (early_drop), entries not inserted (insert_failed), packets that match no connection (invalid).",
        conntrack_drops,
    )
    .labels(&[DROP_KIND]),
    Family::gauge(
        "netns_conntrack_entries",
        "Entries in the conntrack tables of other network namespaces than the host's (entries in /proc/net/stat/nf_conntrack); only the fullest tables are exported.",
        conntrack_elsewhere,
    )
    .labels(&[NETNS]),
];

/// TCP's own limits.
pub const STACK: &[Family<CapacitySnapshot>] = &[
    Family::gauge(
        "tcp_orphans",
        "Orphaned TCP sockets of this host: closed by their process, but not yet by TCP (orphan in /proc/net/sockstat).",
        |it, out| out.gauge(it.stack.orphans),
    ),
    Family::gauge(
        "tcp_orphans_limit",
        "Maximum orphaned TCP sockets (sysctl net.ipv4.tcp_max_orphans).",
        |it, out| out.gauge(it.stack.orphans_limit),
    ),
    Family::gauge(
        "tcp_time_wait",
        "TCP connections in TIME_WAIT in the host's network namespace (tw in /proc/net/sockstat).",
        |it, out| out.gauge(it.stack.time_wait),
    ),
    Family::gauge(
        "tcp_time_wait_limit",
        "Maximum TCP connections in TIME_WAIT in the host's network namespace (sysctl net.ipv4.tcp_max_tw_buckets).",
        |it, out| out.gauge(it.stack.time_wait_limit),
    ),
    Family::gauge(
        "tcp_memory",
        "Memory in TCP socket buffers of this host, in bytes (mem in /proc/net/sockstat, times the page size).",
        |it: &CapacitySnapshot, out| out.gauge(it.stack.memory_bytes),
    )
    .unit(Unit::Bytes),
    Family::gauge(
        "tcp_memory_limit",
        "Limit of memory in TCP socket buffers, in bytes, above which TCP refuses more (third number of sysctl net.ipv4.tcp_mem, times the page size).",
        |it: &CapacitySnapshot, out| out.gauge(it.stack.memory_limit_bytes),
    )
    .unit(Unit::Bytes),
];

/// The agent's count of sent resets against the kernel's.
pub const OUT_RSTS: &[Family<CapacitySnapshot>] = &[
    Family::gauge(
        "out_rsts_difference",
        "Sent resets counted by the agent minus those counted by the kernel (Tcp OutRsts), over readable network namespaces. A difference that stays constant for five minutes moves to out_rsts_over.",
        |it, out| out.gauge(it.out_rsts_difference),
    ),
    Family::counter(
        "out_rsts_over",
        "Sent resets by which the agent and the kernel (Tcp OutRsts) differed for five minutes, since the agent started, by whether the agent had counted more or fewer.",
        out_rsts_over,
    )
    .labels(&[COUNTED]),
    Family::gauge(
        "netns",
        "Network namespaces by whether their counters can be read in /proc; unreadable ones are known only by their listeners.",
        netns,
    )
    .labels(&[STATE]),
];

fn queue(snapshot: &CapacitySnapshot, out: Writer<'_, '_>, value: fn(&Listener) -> u32) -> fmt::Result {
    let mut samples = out.samples()?;
    for listener in snapshot.listeners.iter().filter(|listener| listener.sockets > 0) {
        let values = ListenerLabels::of(listener);
        samples.gauge(&values.values(), u64::from(value(listener)))?;
    }
    Ok(())
}

fn listen_overflows(snapshot: &CapacitySnapshot, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for listener in &snapshot.listeners {
        samples.count(&ListenerLabels::of(listener).values(), listener.overflows)?;
    }
    samples.count(&["", "", "", "", ""], snapshot.unattributed_overflows)?;
    samples.count(&["", "", "", "", "_other"], snapshot.folded_overflows)
}

fn conntrack_drops(snapshot: &CapacitySnapshot, out: Writer<'_, '_>) -> fmt::Result {
    let Some(ConntrackDrops { full, early_drop, insert_failed, invalid }) = snapshot.conntrack_drops else {
        return Ok(());
    };
    let mut samples = out.samples()?;
    let kinds = [("full", full), ("early_drop", early_drop), ("insert_failed", insert_failed), ("invalid", invalid)];
    for (kind, count) in kinds {
        count.map_or(Ok(()), |count| samples.count(&[kind], count))?;
    }
    Ok(())
}

fn conntrack_elsewhere(snapshot: &CapacitySnapshot, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for (netns, entries) in &snapshot.conntrack_elsewhere {
        samples.gauge(&[&netns.to_string()], *entries)?;
    }
    Ok(())
}

fn out_rsts_over(snapshot: &CapacitySnapshot, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    let (more, fewer) = snapshot.out_rsts_over;
    samples.count(&["more"], more)?;
    samples.count(&["fewer"], fewer)
}

fn netns(snapshot: &CapacitySnapshot, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    samples.gauge(&["readable"], snapshot.netns_readable)?;
    samples.gauge(&["unreadable"], snapshot.netns_unreadable)
}

/// The values of the labels [`LISTENER`].
struct ListenerLabels<'a> {
    address: &'a str,
    port: String,
    workload: Labels,
}

impl<'a> ListenerLabels<'a> {
    fn of(listener: &'a Listener) -> Self {
        // The namespace's inode distinguishes the sockets of one series; the rest is measured.
        let Listener { address, port, workload, netns: _, sockets: _, length: _, limit: _, overflows: _ } = listener;
        let workload = workload.as_ref().map(Labels::from).unwrap_or_default();
        Self { address, port: port.to_string(), workload }
    }

    fn values(&self) -> [&str; 5] {
        let Self { address, port, workload } = self;
        let [kind, namespace, workload] = workload.values();
        [address, port, kind, namespace, workload]
    }
}
