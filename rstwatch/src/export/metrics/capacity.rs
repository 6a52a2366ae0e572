//! Queues and tables that fill up. What is absent has no line, not a zero.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::counter;
use crate::aggregate::Labels;
use crate::capacity::{Listener, Snapshot};

/// Everything of one look.
pub(super) fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    queues(snapshot, encoder)?;
    overflows(snapshot, encoder)?;
    conntrack(snapshot, encoder)?;
    stack(snapshot, encoder)?;
    kernel_counters(snapshot, encoder)?;
    agreement(snapshot, encoder)
}

fn queues(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Connections in the accept queue; of several sockets alike, in the fullest.";
    queue(snapshot, encoder.encode_descriptor("listen_queue_length", help, None, MetricType::Gauge)?, |it| it.length)?;
    let help = "Limit of that accept queue (sk_max_ack_backlog); it takes one more.";
    queue(snapshot, encoder.encode_descriptor("listen_queue_limit", help, None, MetricType::Gauge)?, |it| it.limit)
}

fn queue(snapshot: &Snapshot, mut family: MetricEncoder<'_>, value: fn(&Listener) -> u32) -> fmt::Result {
    for listener in snapshot.listeners.iter().filter(|listener| listener.sockets > 0) {
        let named = Named::of(listener);
        family.encode_family(&named.labels())?.encode_gauge(&u64::from(value(listener)))?;
    }
    Ok(())
}

fn overflows(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Connections lost to a full accept queue, by listener. Without an address: nobody knows whose; _other: beyond the limit of listeners.";
    let mut family = encoder.encode_descriptor("listen_overflows", help, None, MetricType::Counter)?;
    for listener in &snapshot.listeners {
        counter(&mut family, &Named::of(listener).labels(), listener.overflows)?;
    }
    for (workload, count) in [("", snapshot.unattributed_overflows), ("_other", snapshot.folded_overflows)] {
        counter(&mut family, &Named { workload: workload.into(), ..Named::default() }.labels(), count)?;
    }
    let help = "Listeners without series of their own, because the limit was reached.";
    gauge(encoder, "listeners_folded", help, Some(snapshot.listeners_folded))?;
    let help = "Listeners that there was no room for in the kernel side: they are not seen.";
    let mut unlisted = encoder.encode_descriptor("listeners_unlisted", help, None, MetricType::Counter)?;
    unlisted.encode_counter::<NoLabelSet, _, u64>(&snapshot.listeners_unlisted, None)
}

fn conntrack(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let conntrack = snapshot.conntrack;
    let help = "Entries in the conntrack table of the host's network namespace.";
    gauge(encoder, "conntrack_entries", help, conntrack.map(|it| it.entries))?;
    let help = "Most entries that a network namespace's conntrack table takes (nf_conntrack_max).";
    gauge(encoder, "conntrack_limit", help, conntrack.map(|it| it.limit))?;
    if let Some(drops) = snapshot.conntrack_drops {
        let help = "What conntrack lost, over all network namespaces that can be read: packets because the table was full, entries evicted, entries not inserted, packets that fit no connection.";
        let mut family = encoder.encode_descriptor("conntrack_drops", help, None, MetricType::Counter)?;
        let kinds = [
            ("full", drops.full),
            ("early_drop", drops.early_drop),
            ("insert_failed", drops.insert_failed),
            ("invalid", drops.invalid),
        ];
        for (kind, count) in kinds {
            count.map_or(Ok(()), |count| counter(&mut family, &[("kind", kind)], count))?;
        }
    }
    let help = "Entries in the conntrack tables of other network namespaces, by inode; the fullest.";
    let mut family = encoder.encode_descriptor("netns_conntrack_entries", help, None, MetricType::Gauge)?;
    for (netns, entries) in &snapshot.conntrack_elsewhere {
        family.encode_family(&[("netns", &*netns.to_string())])?.encode_gauge(entries)?;
    }
    Ok(())
}

fn stack(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let stack = snapshot.stack;
    for (name, help, value) in [
        ("tcp_orphans", "TCP sockets of this host that no program holds any more.", stack.orphans),
        ("tcp_orphans_limit", "Most of them that are kept (tcp_max_orphans).", stack.orphans_limit),
        ("tcp_time_wait", "Connections in TIME_WAIT in the host's network namespace.", stack.time_wait),
        ("tcp_time_wait_limit", "Most of them that are kept (tcp_max_tw_buckets).", stack.time_wait_limit),
    ] {
        gauge(encoder, name, help, value)?;
    }
    for (name, help, value) in [
        ("tcp_memory", "Memory in the buffers of this host's TCP sockets.", stack.memory_bytes),
        ("tcp_memory_limit", "Above this memory is refused (third number of tcp_mem).", stack.memory_limit_bytes),
    ] {
        gauge_in(encoder, name, help, Some(&Unit::Bytes), value)?;
    }
    Ok(())
}

fn kernel_counters(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, count) in &snapshot.counters {
        let help =
            "The kernel's counter of this name, since the agent's start, over all network namespaces that can be read.";
        encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(count, None)?;
    }
    Ok(())
}

fn agreement(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    if let Some(difference) = snapshot.out_rsts_difference {
        let help = "Sent resets that we counted less those that the kernel counted (TcpOutRsts), in the network namespaces that can be read. A difference that stands still for five minutes moves to out_rsts_over.";
        encoder.encode_descriptor("out_rsts_difference", help, None, MetricType::Gauge)?.encode_gauge(&difference)?;
    }
    let help = "Differences between our count of sent resets and the kernel's that stood still for five minutes, by what we had counted: more or fewer.";
    let mut family = encoder.encode_descriptor("out_rsts_over", help, None, MetricType::Counter)?;
    let (more, fewer) = snapshot.out_rsts_over;
    for (counted, over) in [("more", more), ("fewer", fewer)] {
        counter(&mut family, &[("counted", counted)], over)?;
    }
    let help = "Network namespaces whose counters can be read, and those with listeners whose cannot.";
    let mut family = encoder.encode_descriptor("netns", help, None, MetricType::Gauge)?;
    for (state, count) in [("readable", snapshot.netns_readable), ("unreadable", snapshot.netns_unreadable)] {
        family.encode_family(&[("state", state)])?.encode_gauge(&count)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
    gauge_in(encoder, name, help, None, value)
}

fn gauge_in(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: Option<u64>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    let mut metric: MetricEncoder<'_> = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    metric.encode_gauge(&value)
}

/// The labels of a listener; what is not known is empty.
#[derive(Default)]
struct Named {
    address: String,
    port: String,
    kind: &'static str,
    namespace: String,
    workload: String,
}

impl Named {
    fn of(listener: &Listener) -> Self {
        let Labels { kind, namespace, workload } = listener.workload.as_ref().map(Labels::from).unwrap_or_default();
        Self { address: listener.address.clone(), port: listener.port.to_string(), kind, namespace, workload }
    }

    fn labels(&self) -> [(&str, &str); 5] {
        [
            ("address", &self.address),
            ("port", &self.port),
            ("workload_kind", self.kind),
            ("namespace", &self.namespace),
            ("workload", &self.workload),
        ]
    }
}
