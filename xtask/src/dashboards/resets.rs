//! "Resets by cause": are resets up, which cause, on which nodes, of which workloads.

use serde_json::{Value, json};

use super::columns::{columns, url};
use super::dashboard::{Dashboard, of_metric, words};
use super::palette::SENDERS;
use super::panel::Kind::{BarGauge, Stat, TimeSeries};
use super::panel::Unit::{Count, PerSecond, Share};
use super::panel::{Panel, panel, row};
use super::query::query;
use super::{CAPACITY, RESETS};

pub(super) fn dashboard() -> Dashboard {
    let panels = [fleet(), nodes(), workloads(), workload()];
    Dashboard {
        uid: RESETS,
        title: "rstwatch / Resets by cause",
        about: "TCP resets by verdict: from all nodes to one node to one workload. A click on a node or a \
            workload in a table narrows everything to it.",
        variables: variables(),
        panels: panels.into_iter().flatten().collect(),
    }
}

fn variables() -> Vec<Value> {
    vec![
        words("direction", "Direction", &["sent", "received"], &[]),
        of_metric("namespace", "Namespace", "@resets_total"),
        of_metric("workload", "Workload", "@resets_total{namespace=$}"),
    ]
}

fn fleet() -> Vec<Panel> {
    let mut panels = vec![row("All selected nodes")];
    panels.extend(glance());
    panels.extend([
        panel(
            TimeSeries,
            "Resets by cause",
            "Resets per second by our verdict. Colours are the same everywhere. `rstwatch explain CAUSE` \
             tells what a cause means, how to confirm it and what to change.",
            PerSecond,
        )
        .size(16, 10)
        .stacked()
        .by_cause()
        .ask(query("sum by (cause) (rate(@resets_total{direction=$}[rate]))", "{{cause}}")),
        panel(
            BarGauge,
            "Causes in this time range",
            "How many resets each cause made in the time range of the dashboard, most first.",
            Count,
        )
        .size(8, 10)
        .by_cause()
        .ask(query("sort_desc(sum by (cause) (increase(@resets_total{direction=$}[range])))", "{{cause}}")),
    ]);
    panels.extend(other_views());
    panels
}

/// What one sees in five seconds.
fn glance() -> [Panel; 6] {
    [
        panel(
            Stat,
            "Resets",
            "Resets of connections per second now. Refused connects (RST to a SYN) are left out: nothing \
             was reset.",
            PerSecond,
        )
        .ask(query("sum(rate(@resets_total{direction=$,cause!='refused'}[rate]))", "resets")),
        panel(
            Stat,
            "Now against the mean",
            "Are resets up? 100 % is the mean of the dashboard's time range. Yellow from one and a half \
             times, red from three times that.",
            Share,
        )
        .alarm(1.5, 3.0)
        .now()
        .ask(query(
            "sum(rate(@resets_total{direction=$,cause!='refused'}[rate])) / \
             (sum(rate(@resets_total{direction=$,cause!='refused'}[range])) > 0)",
            "of the mean",
        )),
        panel(
            Stat,
            "Nodes with resets",
            "Nodes on which a connection was reset lately. One node of many: look at the node; all of \
             them: look at what they share.",
            Count,
        )
        .ask(query(
            "count(sum by (instance) (rate(@resets_total{direction=$,cause!='refused'}[rate])) > 0) or \
             vector(0)",
            "nodes with resets",
        )),
        panel(Stat, "Nodes watched", "Agents that were scraped. Fewer than nodes: some are not watched.", Count)
            .ask(query("count(@build_info)", "nodes watched")),
        panel(
            Stat,
            "Cause not known",
            "Share of resets without a verdict: `unknown` (the evidence does not decide) and `unsampled` \
             (details were lost).",
            Share,
        )
        .alarm(0.1, 0.5)
        .ask(query(
            "(sum(rate(@resets_total{direction=$,cause=~'unknown|unsampled'}[rate])) or vector(0)) / \
             (sum(rate(@resets_total{direction=$}[rate])) > 0)",
            "not known",
        )),
        panel(
            Stat,
            "Events lost",
            "Details lost on the way, per second. Their resets are counted all the same, as `unsampled`. \
             The Capacity dashboard tells where.",
            PerSecond,
        )
        .alarm(0.001, 1.0)
        .default("links", json!([{ "title": "Capacity", "url": url(CAPACITY, &[]) }]))
        .ask(query("sum(rate(@events_lost_total[rate]))", "events lost")),
    ]
}

fn other_views() -> [Panel; 3] {
    [
        panel(
            TimeSeries,
            "By sender",
            "Who emitted the RST: this host's program, kernel or firewall; the peer; a device on the \
             path.",
            PerSecond,
        )
        .size(8, 8)
        .stacked()
        .coloured(&SENDERS)
        .ask(query("sum by (sender) (rate(@resets_total{direction=$}[rate]))", "{{sender}}")),
        panel(
            TimeSeries,
            "By direction",
            "`sent`: this host's stack or firewall emitted it. `received`: a socket of this host accepted \
             it. A reset between two watched nodes is in both.",
            PerSecond,
        )
        .size(8, 8)
        .ask(query("sum by (direction) (rate(@resets_total{direction=$}[rate]))", "{{direction}}")),
        panel(
            TimeSeries,
            "By the kernel's reason",
            "Exact counts by the kernel's own word, never sampled. A reason is not a cause: one reason \
             has several causes.",
            PerSecond,
        )
        .size(8, 8)
        .ask(query(
            "sum by (direction, reason) (rate(@kernel_resets_total{direction=$}[rate]))",
            "{{direction}} {{reason}}",
        )),
    ]
}

fn nodes() -> Vec<Panel> {
    let table = columns(
        "Nodes",
        "Resets of each node in the time range, refused connects left out, and its commonest cause. A \
         click on a node narrows the dashboard to it.",
        "instance",
    )
    .value(
        "resets",
        Count,
        "topk(100, sum by (instance) (increase(@resets_total{direction=$,cause!='refused'}[range])))",
    )
    .bar()
    .labels(
        "topk by (instance) (1, sum by (instance, cause) \
         (increase(@resets_total{direction=$,cause!='refused'}[range])))",
    )
    .value("now", PerSecond, "sum by (instance) (rate(@resets_total{direction=$,cause!='refused'}[rate]))")
    .link("instance", "This node", RESETS, &["instance"]);
    let course =
        panel(TimeSeries, "Resets by node", "The ten nodes with most resets, refused connects left out.", PerSecond)
            .ask(query(
                "topk(10, sum by (instance) (rate(@resets_total{direction=$,cause!='refused'}[rate])))",
                "{{instance}}",
            ));
    vec![row("Nodes: $instance"), table.done(), course]
}

fn workloads() -> Vec<Panel> {
    let table = columns(
        "Workloads",
        "The fifty workloads with most resets in the time range, refused connects left out, and their \
         commonest cause. A click on a workload narrows the dashboard to it. Empty: nobody's, as of an RST \
         by the stack alone; `_other`: beyond the limit of series.",
        "namespace, workload_kind, workload",
    )
    .value(
        "resets",
        Count,
        "topk(50, sum by (namespace, workload_kind, workload) \
         (increase(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[range])))",
    )
    .bar()
    .labels(
        "topk by (namespace, workload_kind, workload) (1, sum by (namespace, workload_kind, workload, \
         cause) (increase(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[range])))",
    )
    .value(
        "nodes",
        Count,
        "count by (namespace, workload_kind, workload) (sum by (instance, namespace, workload_kind, \
         workload) (increase(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[range])) > 0)",
    )
    .link("workload", "This workload", RESETS, &["workload"])
    .link("namespace", "This namespace", RESETS, &["namespace"]);
    let course = panel(
        TimeSeries,
        "Resets by workload",
        "The ten workloads with most resets, refused connects left out.",
        PerSecond,
    )
    .ask(query(
        "topk(10, sum by (namespace, workload) \
         (rate(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[rate])))",
        "{{namespace}}/{{workload}}",
    ));
    vec![row("Workloads: $namespace / $workload"), table.done(), course]
}

/// The end of the way down.
fn workload() -> Vec<Panel> {
    let course = panel(
        TimeSeries,
        "Selected workloads by cause",
        "Resets of the selected workloads, sent and received apart.",
        PerSecond,
    )
    .stacked()
    .by_cause()
    .ask(query(
        "sum by (direction, cause) (rate(@resets_total{direction=$,namespace=$,workload=$}[rate]))",
        "{{direction}} {{cause}}",
    ));
    let table = columns(
        "Selected workloads in detail",
        "Every combination of node, direction, cause and sender in the time range: what to look for \
         with `rstwatch trace --cause CAUSE` on that node.",
        "instance, namespace, workload, direction, cause, sender",
    )
    .value(
        "resets",
        Count,
        "topk(100, sum by (instance, namespace, workload, direction, cause, sender) \
         (increase(@resets_total{direction=$,namespace=$,workload=$}[range])))",
    )
    .link("instance", "This node", RESETS, &["instance"])
    .link("workload", "This workload", RESETS, &["workload"]);
    vec![row("Selected workloads in detail"), course, table.done()]
}
