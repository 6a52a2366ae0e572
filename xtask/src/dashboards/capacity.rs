//! "Capacity": queues and tables whose limits make resets, and whether the counts can be believed.

use serde_json::json;

use super::columns::columns;
use super::dashboard::Dashboard;
use super::panel::Kind::{Stat, TimeSeries};
use super::panel::Unit::{Bytes, Count, PerSecond, Seconds, Share};
use super::panel::{Panel, panel, row};
use super::query::{WHOSE, query};
use super::{CAPACITY, RESETS};

/// What tells listeners apart.
const LISTENER: &str = "instance, address, port, workload_kind, namespace, workload";
/// A queue takes one connection more than its limit.
const FULLNESS: &str = "(@listen_queue_length / (@listen_queue_limit + 1))";

pub(super) fn dashboard() -> Dashboard {
    let panels = [glance(), queues(), handshakes(), conntrack(), sockets(), aborts(), counts(), agent()];
    Dashboard {
        uid: CAPACITY,
        title: "rstwatch / Capacity",
        about: "Accept queues, conntrack, sockets and memory of the selected nodes: how near their limits \
            are, and what was dropped. Then whether rstwatch's counts agree with the kernel's.",
        variables: Vec::new(),
        panels: panels.into_iter().flatten().collect(),
    }
}

fn glance() -> Vec<Panel> {
    let share =
        |title, about, short, legend| panel(Stat, title, about, Share).alarm(0.7, 0.9).ask(query(short, legend));
    vec![
        row("Nearest to their limits"),
        share(
            "Fullest accept queue",
            "Connections that wait for accept(), of what the fullest queue takes. Full: connects time out \
             or are reset.",
            &format!("max{FULLNESS}"),
            "fullest queue",
        ),
        panel(
            Stat,
            "Accept queue overflows",
            "Connections per second that found their listener's queue full.",
            PerSecond,
        )
        .alarm(0.001, 1.0)
        .ask(query("sum(rate(@listen_overflows_total[rate]))", "overflows")),
        share(
            "Fullest conntrack table",
            "Entries of nf_conntrack_max on the fullest node. Full: new connections are dropped, and \
             others lose their entries.",
            "max(@conntrack_entries / @conntrack_limit)",
            "fullest table",
        ),
        share(
            "Most orphans",
            "Closed sockets that still have data to send, of tcp_max_orphans. At the limit the kernel \
             resets them.",
            "max(@tcp_orphans / @tcp_orphans_limit)",
            "orphans",
        ),
        share(
            "Most TCP memory",
            "Memory of TCP sockets of tcp_mem's highest value. At the limit the kernel resets sockets.",
            "max(@tcp_memory_bytes / @tcp_memory_limit_bytes)",
            "memory",
        ),
        panel(
            Stat,
            "Counts differ",
            "The largest difference between the sent resets that rstwatch counted and TcpOutRsts. \
             Anything but 0 that lasts: see `rstwatch check`.",
            Count,
        )
        .alarm(1.0, 100.0)
        .ask(query("max(abs(@out_rsts_difference))", "difference")),
    ]
}

fn queues() -> Vec<Panel> {
    let table = columns(
        "Listeners",
        "The fifty fullest accept queues now, and their overflows in the time range. A limit that is \
         lower than what the program asked for is net.core.somaxconn. A click on a workload leads to \
         its resets.",
        LISTENER,
    )
    .value("fullness", Share, &format!("topk(50, max by ({LISTENER}) {FULLNESS})"))
    .bar()
    .property("fullness", "max", &json!(1))
    .value("waiting", Count, &format!("max by ({LISTENER}) (@listen_queue_length)"))
    .value("limit", Count, &format!("max by ({LISTENER}) (@listen_queue_limit)"))
    .value("overflows", Count, &format!("max by ({LISTENER}) (increase(@listen_overflows_total[range]))"))
    .link("instance", "Resets of this node", RESETS, &["instance"])
    .link("workload", "Resets of this workload", RESETS, &["instance", "workload"]);
    vec![
        row("Accept queues"),
        series(
            "Fullest accept queues",
            "Waiting connections of what the queue takes, the ten fullest listeners. A queue that stays \
             near 100 %: the program accepts too slowly.",
            Share,
            &format!("topk(10, {FULLNESS})"),
            "{{instance}} {{address}}:{{port}} {{workload}}",
        )
        .size(8, 9),
        series(
            "Overflows by listener",
            "Connections that found the queue full, the ten worst listeners. No address: listeners that \
             were not seen.",
            PerSecond,
            "topk(10, sum by (instance, address, port, workload) (rate(@listen_overflows_total[rate])))",
            "{{instance}} {{address}}:{{port}} {{workload}}",
        )
        .size(8, 9),
        series(
            "Overflows and drops by the kernel",
            "ListenOverflows and ListenDrops of all readable network namespaces. Drops without overflows: \
             no memory, or a full SYN queue.",
            PerSecond,
            "sum(rate(@tcp_ext_listen_overflows_total[rate]))",
            "overflows",
        )
        .ask(query("sum(rate(@tcp_ext_listen_drops_total[rate]))", "drops"))
        .size(8, 9),
        table.done().size(24, 9),
    ]
}

fn handshakes() -> Vec<Panel> {
    vec![
        row("Handshakes"),
        series(
            "SYN cookies",
            "Sent: a SYN queue was full. Failed: an ACK with a wrong cookie; it is answered with an RST.",
            PerSecond,
            "sum(rate(@tcp_ext_syncookies_sent_total[rate]))",
            "sent",
        )
        .ask(query("sum(rate(@tcp_ext_syncookies_recv_total[rate]))", "received"))
        .ask(query("sum(rate(@tcp_ext_syncookies_failed_total[rate]))", "failed")),
        series(
            "SYN queue full",
            "What the kernel did with a SYN when the queue was full: answer with a cookie, or drop.",
            PerSecond,
            "sum(rate(@tcp_ext_tcp_req_q_full_do_cookies_total[rate]))",
            "cookies",
        )
        .ask(query("sum(rate(@tcp_ext_tcp_req_q_full_drop_total[rate]))", "dropped")),
    ]
}

fn conntrack() -> Vec<Panel> {
    vec![
        row("Connection tracking"),
        series(
            "Conntrack tables",
            "Entries of nf_conntrack_max, the ten fullest nodes.",
            Share,
            "topk(10, @conntrack_entries / @conntrack_limit)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "Conntrack drops",
            "`full`: no room for a new connection. `early_drop`: another one was evicted for it, and may \
             be reset when it is used. `insert_failed`: two packets raced, or NAT ran out of ports. `invalid`: packets \
             that fit no connection.",
            PerSecond,
            "sum by (kind) (rate(@conntrack_drops_total[rate]))",
            "{{kind}}",
        )
        .size(8, 8),
        series(
            "Tables of other network namespaces",
            "Entries of the ten fullest namespaces beside the host's; each counts against the same limit.",
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
            "Of tcp_max_orphans, the ten nodes with most.",
            Share,
            "topk(10, @tcp_orphans / @tcp_orphans_limit)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "TIME_WAIT",
            "Of tcp_max_tw_buckets, the ten nodes with most. At the limit TIME_WAIT is cut short; late \
             segments are then answered with an RST.",
            Share,
            "topk(10, @tcp_time_wait / @tcp_time_wait_limit)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "TCP memory",
            "Of all sockets, the ten nodes with most, and the lowest limit.",
            Bytes,
            "topk(10, @tcp_memory_bytes)",
            "{{instance}}",
        )
        .ask(query("min(@tcp_memory_limit_bytes)", "limit"))
        .size(8, 8),
    ]
}

fn aborts() -> Vec<Panel> {
    let abort =
        |panel: Panel, kind: &str| panel.ask(query(&format!("sum(rate(@tcp_ext_tcp_abort_{kind}_total[rate]))"), kind));
    let about = "TCPAbort counters. `on_data`: SO_LINGER 0, or data came after close. `on_close`: closed with data \
                 unread. `on_memory`: memory or orphan limit. `on_timeout`: retransmissions, keepalive or user timeout. \
                 `on_linger`: closed with a negative TCP_LINGER2. `failed`: no memory for the RST.";
    let kinds = ["on_data", "on_close", "on_memory", "on_timeout", "on_linger", "failed"];
    vec![
        row("What the kernel aborts"),
        kinds.into_iter().fold(panel(TimeSeries, "Aborts", about, PerSecond), abort),
        series(
            "Resets by the kernel's counters",
            "OutRsts: RSTs that the stack sent. EstabResets: connections that ended without FINs, for \
             whatever cause. AttemptFails: handshakes that failed.",
            PerSecond,
            "sum(rate(@tcp_out_rsts_total[rate]))",
            "OutRsts",
        )
        .ask(query("sum(rate(@tcp_estab_resets_total[rate]))", "EstabResets"))
        .ask(query("sum(rate(@tcp_attempt_fails_total[rate]))", "AttemptFails")),
    ]
}

fn counts() -> Vec<Panel> {
    vec![
        row("Do the counts agree?"),
        series(
            "rstwatch against the kernel",
            "Sent resets that rstwatch counted, firewall rejects left out, and OutRsts. The two lines lie on each \
             other, unless resets come from network namespaces that cannot be read: the difference leaves those out.",
            PerSecond,
            "sum(rate(@resets_total{direction='sent',sender!='local_firewall'}[rate]))",
            "rstwatch",
        )
        .ask(query("sum(rate(@tcp_out_rsts_total[rate]))", "kernel"))
        .size(8, 8),
        series(
            "Difference",
            "Sent resets that rstwatch counted less OutRsts, since the agent's start. 0: they agree. \
             Growing: not every sender is seen, as before Linux 6.10 without kprobes.",
            Count,
            "topk(10, @out_rsts_difference)",
            "{{instance}}",
        )
        .size(8, 8),
        series(
            "Network namespaces",
            "Those whose counters are read, and those with listeners whose counters cannot be. One in which no \
             process lives is neither. Resets are counted in all of them.",
            Count,
            "sum by (state) (@netns)",
            "{{state}}",
        )
        .size(8, 8),
    ]
}

fn agent() -> Vec<Panel> {
    let probes = columns(
        "Probes",
        "On how many nodes each probe is attached, and on how many it is not. Optional ones may be \
         missing where another stands in; `rstwatch check` on the node says what is lost.",
        "probe",
    )
    .value("missing", Count, "count by (probe) (@probe_attached) - sum by (probe) (@probe_attached)")
    .value("attached", Count, "sum by (probe) (@probe_attached)")
    .done();
    let builds = columns("Builds", "Which builds run on how many nodes.", "version, revision")
        .value("nodes", Count, "count by (version, revision) (@build_info)")
        .done();
    vec![
        row("The agent itself"),
        series(
            "Events",
            "Events that were classified and counted.",
            PerSecond,
            "sum(rate(@events_total[rate]))",
            "events",
        )
        .size(8, 8),
        series(
            "Events lost by stage",
            "`ring_full`: raise the ring buffer. `rate_limited`: a flood of one kind, as intended. \
             `decode`: a defect. `missed`: the kernel did not run the probe. `follower`: a slow reader of \
             the event stream.",
            PerSecond,
            "sum by (stage) (rate(@events_lost_total[rate]))",
            "{{stage}}",
        )
        .size(8, 8),
        series(
            "Series folded",
            "Resets counted as workload `_other` because the limit of workloads was reached.",
            PerSecond,
            "sum by (instance) (rate(@series_folded_total[rate]))",
            "{{instance}}",
        )
        .size(8, 8),
        probes.size(10, 9),
        builds.size(6, 9),
        panel(TimeSeries, "Scrape duration", "How long a scrape of the agent takes, the slowest ten nodes.", Seconds)
            .size(8, 9)
            .ask(query(&format!("topk(10, scrape_duration_seconds{{{WHOSE}}})"), "{{instance}}")),
    ]
}

fn series(title: &str, about: &str, unit: super::panel::Unit, short: &str, legend: &str) -> Panel {
    panel(TimeSeries, title, about, unit).ask(query(short, legend))
}
