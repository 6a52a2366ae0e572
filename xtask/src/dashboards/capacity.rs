//! "Capacity": queues and tables that cause resets when they are full, and whether rstwatch's counts agree with the kernel's.

use serde_json::json;

use super::dashboard::Dashboard;
use super::links::{CAPACITY, RESETS};
use super::panel::Kind::{Stat, TimeSeries};
use super::panel::Unit::{Bytes, Count, PerSecond, Ratio, Seconds};
use super::panel::{Panel, Unit, panel, row};
use super::query::{SELECTED, query};
use super::table::table;

/// Labels that identify a listener.
const LISTENER: &str = "instance, address, port, workload_kind, namespace, workload";
/// Fraction in use. A queue holds one connection more than its limit.
const QUEUE_RATIO: &str = "(@listen_queue_length / (@listen_queue_limit + 1))";

pub(super) fn dashboard() -> Dashboard {
    let panels = [overview(), queues(), handshakes(), conntrack(), sockets(), aborts(), reconciliation(), agent()];
    Dashboard {
        uid: CAPACITY,
        title: "rstwatch / Capacity",
        description: "Usage and drops of accept queues, conntrack, sockets and TCP memory on the selected nodes, and whether \
            rstwatch's counts agree with the kernel's.",
        variables: Vec::new(),
        panels: panels.into_iter().flatten().collect(),
    }
}

fn overview() -> Vec<Panel> {
    let usage = |title, description, promql, legend| {
        panel(Stat, title, description, Ratio).thresholds(0.7, 0.9).target(query(promql, legend))
    };
    vec![
        row("Highest usage"),
        usage(
            "Fullest accept queue",
            "Connections waiting for accept(), relative to the limit of the fullest queue. When a queue is full, \
             connection attempts time out or are reset.",
            &format!("max{QUEUE_RATIO}"),
            "fullest queue",
        ),
        panel(
            Stat,
            "Accept queue overflows",
            "Connections per second that found the accept queue of their listener full.",
            PerSecond,
        )
        .thresholds(0.001, 1.0)
        .target(query("sum(rate(@listen_overflows_total[rate]))", "overflows")),
        usage(
            "Fullest conntrack table",
            "Entries relative to nf_conntrack_max on the fullest node. When a table is full, the kernel drops new \
             connections and evicts entries of others.",
            "max(@conntrack_entries / @conntrack_limit)",
            "fullest table",
        ),
        usage(
            "Most orphans",
            "Orphaned sockets (closed by their process, but not yet by TCP) relative to tcp_max_orphans. At the limit the \
             kernel resets them.",
            "max(@tcp_orphans / @tcp_orphans_limit)",
            "orphans",
        ),
        usage(
            "Most TCP memory",
            "Memory of TCP sockets relative to the third value of tcp_mem. At the limit the kernel resets sockets.",
            "max(@tcp_memory_bytes / @tcp_memory_limit_bytes)",
            "memory",
        ),
        panel(
            Stat,
            "Count difference",
            "Largest difference between rstwatch's count of sent resets and the kernel's TcpOutRsts. If it stays above 0, \
             run `rstwatch check` on the node.",
            Count,
        )
        .thresholds(1.0, 100.0)
        .target(query("max(abs(@out_rsts_difference))", "difference")),
    ]
}

fn queues() -> Vec<Panel> {
    let listeners = table(
        "Listeners",
        "The fifty fullest accept queues now, and their overflows in the time range. A limit below the backlog that the \
         program requested is net.core.somaxconn. Click a workload to show its resets.",
        LISTENER,
    )
    .value("usage", Ratio, &format!("topk(50, max by ({LISTENER}) {QUEUE_RATIO})"))
    .bar()
    .property("usage", "max", &json!(1))
    .value("waiting", Count, &format!("max by ({LISTENER}) (@listen_queue_length)"))
    .value("limit", Count, &format!("max by ({LISTENER}) (@listen_queue_limit)"))
    .value("overflows", Count, &format!("max by ({LISTENER}) (increase(@listen_overflows_total[range]))"))
    .link("instance", "Resets of this node", RESETS, &["instance"])
    .link("workload", "Resets of this workload", RESETS, &["instance", "workload"]);
    vec![
        row("Accept queues"),
        series(
            "Fullest accept queues",
            "Waiting connections relative to the limit, for the ten fullest listeners. A queue that stays near 100 % \
             means that the program accepts too slowly.",
            Ratio,
            &format!("topk(10, {QUEUE_RATIO})"),
            "{{instance}} {{address}}:{{port}} {{workload}}",
        )
        .size(8, 9),
        series(
            "Overflows by listener",
            "Connections that found the queue full, for the ten listeners with most overflows. Overflows without an \
             address could not be attributed to a listener.",
            PerSecond,
            "topk(10, sum by (instance, address, port, workload) (rate(@listen_overflows_total[rate])))",
            "{{instance}} {{address}}:{{port}} {{workload}}",
        )
        .size(8, 9),
        series(
            "Overflows and drops (kernel)",
            "The kernel counters ListenOverflows and ListenDrops, summed over all readable network namespaces. Drops \
             without overflows mean a lack of memory or a full SYN queue.",
            PerSecond,
            "sum(rate(@tcp_ext_listen_overflows_total[rate]))",
            "overflows",
        )
        .target(query("sum(rate(@tcp_ext_listen_drops_total[rate]))", "drops"))
        .size(8, 9),
        listeners.build().size(24, 9),
    ]
}

fn handshakes() -> Vec<Panel> {
    vec![
        row("Handshakes"),
        series(
            "SYN cookies",
            "`sent`: SYN cookies sent because a SYN queue was full. `failed`: ACKs with an invalid cookie, which the kernel answers \
             with an RST.",
            PerSecond,
            "sum(rate(@tcp_ext_syncookies_sent_total[rate]))",
            "sent",
        )
        .target(query("sum(rate(@tcp_ext_syncookies_recv_total[rate]))", "received"))
        .target(query("sum(rate(@tcp_ext_syncookies_failed_total[rate]))", "failed")),
        series(
            "SYN queue full",
            "SYNs that found the SYN queue full, by what the kernel did: answer with a SYN cookie, or drop.",
            PerSecond,
            "sum(rate(@tcp_ext_tcp_req_q_full_do_cookies_total[rate]))",
            "cookies",
        )
        .target(query("sum(rate(@tcp_ext_tcp_req_q_full_drop_total[rate]))", "dropped")),
    ]
}

fn conntrack() -> Vec<Panel> {
    vec![
        row("Connection tracking"),
        series(
            "Conntrack tables",
            "Entries relative to nf_conntrack_max, for the ten fullest nodes.",
            Ratio,
            "topk(10, @conntrack_entries / @conntrack_limit)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "Conntrack drops",
            "`full`: packets dropped because the table was full. `early_drop`: entries evicted to make room; such a \
             connection may be reset when it is used again. `insert_failed`: entries not inserted because two packets \
             raced or NAT ran out of ports. `invalid`: packets that match no valid connection state.",
            PerSecond,
            "sum by (kind) (rate(@conntrack_drops_total[rate]))",
            "{{kind}}",
        )
        .size(8, 8),
        series(
            "Tables of other network namespaces",
            "Entries in the ten fullest network namespaces other than the host's. Each namespace counts its own entries \
             against the same limit.",
            Count,
            "topk(10, @netns_conntrack_entries)",
            "{{instance}} {{netns}}",
        )
        .size(8, 8),
    ]
}

fn sockets() -> Vec<Panel> {
    vec![
        row("Sockets and memory"),
        series(
            "Orphans",
            "Orphaned sockets relative to tcp_max_orphans, for the ten nodes with most.",
            Ratio,
            "topk(10, @tcp_orphans / @tcp_orphans_limit)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "TIME_WAIT",
            "Sockets in TIME_WAIT relative to tcp_max_tw_buckets, for the ten nodes with most. At the limit the kernel \
             skips TIME_WAIT, so it answers late segments with an RST.",
            Ratio,
            "topk(10, @tcp_time_wait / @tcp_time_wait_limit)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "TCP memory",
            "Memory of all TCP sockets, for the ten nodes with most, and the lowest limit.",
            Bytes,
            "topk(10, @tcp_memory_bytes)",
            "{{instance}}",
        )
        .target(query("min(@tcp_memory_limit_bytes)", "limit"))
        .size(8, 8),
    ]
}

fn aborts() -> Vec<Panel> {
    let abort = |panel: Panel, kind: &str| {
        panel.target(query(&format!("sum(rate(@tcp_ext_tcp_abort_{kind}_total[rate]))"), kind))
    };
    let description = "Connections that the kernel aborted (TCPAbort* counters). `on_data`: SO_LINGER 0, or data arrived \
                       after close. `on_close`: closed with unread data. `on_memory`: memory or orphan limit. `on_timeout`: \
                       retransmission, keepalive or user timeout. `on_linger`: closed with a negative TCP_LINGER2. `failed`: \
                       no memory for the RST.";
    let kinds = ["on_data", "on_close", "on_memory", "on_timeout", "on_linger", "failed"];
    vec![
        row("Aborts by the kernel"),
        kinds.into_iter().fold(panel(TimeSeries, "Aborts", description, PerSecond), abort),
        series(
            "Resets (kernel)",
            "Kernel counters. OutRsts: RSTs that the TCP stack sent. EstabResets: connections that went from ESTABLISHED or \
             CLOSE_WAIT directly to CLOSE. AttemptFails: failed handshakes.",
            PerSecond,
            "sum(rate(@tcp_out_rsts_total[rate]))",
            "OutRsts",
        )
        .target(query("sum(rate(@tcp_estab_resets_total[rate]))", "EstabResets"))
        .target(query("sum(rate(@tcp_attempt_fails_total[rate]))", "AttemptFails")),
    ]
}

fn reconciliation() -> Vec<Panel> {
    vec![
        row("Reconciliation with the kernel"),
        series(
            "rstwatch and the kernel",
            "Sent resets that rstwatch counted, without firewall rejects, and OutRsts. The lines coincide unless resets come \
             from network namespaces that the agent cannot read; the difference excludes those.",
            PerSecond,
            "sum(rate(@resets_total{direction='sent',sender!='local_firewall'}[rate]))",
            "rstwatch",
        )
        .target(query("sum(rate(@tcp_out_rsts_total[rate]))", "kernel"))
        .size(8, 8),
        series(
            "Difference",
            "Sent resets that rstwatch counted minus OutRsts, since the start of the agent. 0 means that they agree. A growing \
             difference means that one count misses some resets, for example before Linux 6.10 without kprobes.",
            Count,
            "topk(10, @out_rsts_difference)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "Network namespaces",
            "Network namespaces with readable counters, and those with listeners but unreadable counters. A namespace \
             without processes is in neither group. Resets are counted in all of them.",
            Count,
            "sum by (state) (@netns)",
            "{{state}}",
        )
        .size(8, 8),
    ]
}

fn agent() -> Vec<Panel> {
    let probes = table(
        "Probes",
        "Number of nodes on which each probe is attached or missing. A missing optional probe may have a fallback; run \
         `rstwatch check` on the node to see the effect.",
        "probe",
    )
    .value("missing", Count, "count by (probe) (@probe_attached) - sum by (probe) (@probe_attached)")
    .value("attached", Count, "sum by (probe) (@probe_attached)")
    .build();
    let builds = table("Builds", "Number of nodes per build of rstwatch.", "version, revision")
        .value("nodes", Count, "count by (version, revision) (@build_info)")
        .build();
    vec![
        row("Agent"),
        series(
            "Events",
            "Events that the agent classified.",
            PerSecond,
            "sum(rate(@events_total[rate]))",
            "events",
        )
        .size(8, 8),
        series(
            "Events lost by stage",
            "`ring_full`: increase ring_buffer_bytes. `rate_limited`: more resets of one kind than the rate limit, which is \
             intended. `decode`: a bug. `missed`: the kernel did not run the probe. `follower`: a slow reader of the event \
             stream.",
            PerSecond,
            "sum by (stage) (rate(@events_lost_total[rate]))",
            "{{stage}}",
        )
        .size(8, 8),
        series(
            "Series folded",
            "Resets counted as workload `_other` because workload_limit was reached.",
            PerSecond,
            "sum by (instance) (rate(@series_folded_total[rate]))",
            "{{instance}}",
        )
        .size(8, 8),
        probes.size(10, 9),
        builds.size(6, 9),
        panel(TimeSeries, "Scrape duration", "Duration of a scrape, for the ten slowest nodes.", Seconds)
            .size(8, 9)
            .target(query(&format!("topk(10, scrape_duration_seconds{{{SELECTED}}})"), "{{instance}}")),
    ]
}

fn series(title: &str, description: &str, unit: Unit, promql: &str, legend: &str) -> Panel {
    panel(TimeSeries, title, description, unit).target(query(promql, legend))
}
