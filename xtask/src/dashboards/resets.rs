//! "Resets by cause": are resets increasing, and which causes, nodes and workloads contribute.

use serde_json::{Value, json};

use super::dashboard::{Dashboard, direction_choice, metric_label_choice};
use super::folding::{fold_choice, sum_by_cause};
use super::links::{CAPACITY, RESETS, url};
use super::palette::{SENDERS, causes};
use super::panel::Kind::{BarGauge, Stat, TimeSeries};
use super::panel::Unit::{Count, PerSecond, Ratio};
use super::panel::{GRID, Panel, panel, row};
use super::query::query;
use super::table::table;

pub(super) fn dashboard() -> Dashboard {
    let panels = [fleet(), nodes(), workloads(), selected_workloads()];
    Dashboard {
        uid: RESETS,
        title: "rstwatch / Resets by cause",
        description: "TCP resets by cause and sender, for all nodes, one node or one workload. Click a node or a workload \
            in a table to filter the dashboard.",
        variables: variables(),
        panels: panels.into_iter().flatten().collect(),
    }
}

fn variables() -> Vec<Value> {
    vec![
        direction_choice(),
        fold_choice(),
        metric_label_choice("namespace", "Namespace", "@resets_total"),
        metric_label_choice("workload", "Workload", "@resets_total{namespace=$}"),
    ]
}

fn fleet() -> Vec<Panel> {
    let mut panels = vec![row("All selected nodes")];
    panels.extend(overview());
    panels.extend([
        panel(
            TimeSeries,
            "Resets by cause",
            "Resets per second by cause, or by family of causes if \"Causes\" says so. `rstwatch explain CAUSE` describes a \
             cause, how to confirm it, and what to change.",
            PerSecond,
        )
        .size(16, 10)
        .stacked()
        .coloured(&causes())
        .target(query(&sum_by_cause(&[], "rate(@resets_total{direction=$}[rate])"), "{{cause}}")),
        panel(
            BarGauge,
            "Causes in this time range",
            "Resets by cause in the time range of the dashboard. From one end alone, the causes of a family leave the same \
             packet: select \"received by family\" to add resets that are known more exactly to their family.",
            Count,
        )
        .size(8, 10)
        .coloured(&causes())
        .target(query(
            &format!("sort_desc({})", sum_by_cause(&[], "increase(@resets_total{direction=$}[range])")),
            "{{cause}}",
        )),
    ]);
    panels.push(row("Senders"));
    panels.extend(senders());
    panels.push(row("Directions and kernel reasons"));
    panels.extend(breakdowns());
    panels
}

/// The key figures.
fn overview() -> [Panel; 6] {
    [
        panel(
            Stat,
            "Resets",
            "Resets per second, without refused connections (an RST in response to a SYN), because those reset no \
             connection.",
            PerSecond,
        )
        .target(query("sum(rate(@resets_total{direction=$,cause!='refused'}[rate]))", "resets")),
        panel(
            Stat,
            "Relative to the mean",
            "Current rate of resets relative to the mean of the dashboard's time range. Yellow from 150 %, red from 300 %.",
            Ratio,
        )
        .thresholds(1.5, 3.0)
        .instant()
        .target(query(
            "sum(rate(@resets_total{direction=$,cause!='refused'}[rate])) / \
             (sum(rate(@resets_total{direction=$,cause!='refused'}[range])) > 0)",
            "of the mean",
        )),
        panel(
            Stat,
            "Nodes with resets",
            "Nodes on which connections are being reset. If it is one of many, investigate that node; if it is all of them, \
             investigate what they share.",
            Count,
        )
        .target(query(
            "count(sum by (instance) (rate(@resets_total{direction=$,cause!='refused'}[rate])) > 0) or \
             vector(0)",
            "nodes with resets",
        )),
        panel(Stat, "Nodes watched", "Scraped agents. If there are fewer than nodes, some nodes have no agent.", Count)
            .target(query("count(@build_info)", "nodes watched")),
        panel(
            Stat,
            "Unknown cause",
            "Share of resets without a verdict: `unknown` (the evidence does not decide) and `unsampled` \
             (details were lost).",
            Ratio,
        )
        .thresholds(0.1, 0.5)
        .target(query(
            "(sum(rate(@resets_total{direction=$,cause=~'unknown|unsampled'}[rate])) or vector(0)) / \
             (sum(rate(@resets_total{direction=$}[rate])) > 0)",
            "unknown",
        )),
        panel(
            Stat,
            "Events lost",
            "Events lost per second. Their resets still count, as `unsampled`. The Capacity dashboard shows the stage at which \
             events are lost.",
            PerSecond,
        )
        .thresholds(0.001, 1.0)
        .default("links", json!([{ "title": "Capacity", "url": url(CAPACITY, &[]) }]))
        .target(query("sum(rate(@events_lost_total[rate]))", "events lost")),
    ]
}

/// Who sent the RSTs.
fn senders() -> [Panel; 3] {
    [
        panel(
            TimeSeries,
            "By sender",
            "Resets by sender of the RST: a local program, kernel or firewall; the peer; or a device on the path.",
            PerSecond,
        )
        .size(12, 8)
        .stacked()
        .coloured(&SENDERS)
        .target(query("sum by (sender) (rate(@resets_total{direction=$}[rate]))", "{{sender}}")),
        panel(
            BarGauge,
            "Senders in this time range",
            "Resets by sender in the time range of the dashboard. `peer`: investigate the other end. `middlebox`: investigate \
             the devices on the path, because the peer did not send the RST.",
            Count,
        )
        .size(8, 8)
        .coloured(&SENDERS)
        .target(query("sort_desc(sum by (sender) (increase(@resets_total{direction=$}[range])))", "{{sender}}")),
        panel(
            Stat,
            "Unknown sender",
            "Share of resets whose signs conflict: the peer or a device on the path may have sent them. rstwatch on the peer \
             tells. Resets without details are left out.",
            Ratio,
        )
        .size(4, 8)
        .thresholds(0.02, 0.1)
        .target(query(
            "(sum(rate(@resets_total{direction=$,sender='unknown',cause!='unsampled'}[rate])) or vector(0)) / \
             (sum(rate(@resets_total{direction=$,cause!='unsampled'}[rate])) > 0)",
            "unknown sender",
        )),
    ]
}

fn breakdowns() -> [Panel; 2] {
    [
        panel(
            TimeSeries,
            "By direction",
            "`sent`: the TCP stack or firewall of the node sent the RST. `received`: a socket of the node accepted it. A reset \
             between two watched nodes counts in both.",
            PerSecond,
        )
        .size(12, 8)
        .target(query("sum by (direction) (rate(@resets_total{direction=$}[rate]))", "{{direction}}")),
        panel(
            TimeSeries,
            "By the kernel's reason",
            "Exact counts by the kernel's reset reason, never sampled. A reason is not a cause: several causes share one \
             reason.",
            PerSecond,
        )
        .size(12, 8)
        .target(query(
            "sum by (direction, reason) (rate(@kernel_resets_total{direction=$}[rate]))",
            "{{direction}} {{reason}}",
        )),
    ]
}

fn nodes() -> Vec<Panel> {
    let table = table(
        "Nodes",
        "Resets by node in the time range, without refused connections, and the most frequent cause. Click a node to filter \
         the dashboard.",
        "instance",
    )
    .value(
        "resets",
        Count,
        "topk(100, sum by (instance) (increase(@resets_total{direction=$,cause!='refused'}[range])))",
    )
    .bar()
    .labels(&format!(
        "topk by (instance) (1, {})",
        sum_by_cause(&["instance"], "increase(@resets_total{direction=$,cause!='refused'}[range])"),
    ))
    .coloured("cause", &causes())
    .value("now", PerSecond, "sum by (instance) (rate(@resets_total{direction=$,cause!='refused'}[rate]))")
    .link("instance", "This node", RESETS, &["instance"]);
    let history =
        panel(TimeSeries, "Resets by node", "The ten nodes with most resets, without refused connections.", PerSecond)
            .target(query(
                "topk(10, sum by (instance) (rate(@resets_total{direction=$,cause!='refused'}[rate])))",
                "{{instance}}",
            ));
    vec![row("Nodes: $instance"), table.build(), history]
}

fn workloads() -> Vec<Panel> {
    let table = table(
        "Workloads",
        "The fifty workloads with most resets in the time range, without refused connections, and the most frequent cause. \
         Click a workload to filter the dashboard. Resets without a workload have no owner, for example RSTs that the stack \
         sends without a socket. `_other` combines workloads beyond workload_limit.",
        "namespace, workload_kind, workload",
    )
    .value(
        "resets",
        Count,
        "topk(50, sum by (namespace, workload_kind, workload) \
         (increase(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[range])))",
    )
    .bar()
    .labels(&format!(
        "topk by (namespace, workload_kind, workload) (1, {})",
        sum_by_cause(
            &["namespace", "workload_kind", "workload"],
            "increase(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[range])",
        ),
    ))
    .coloured("cause", &causes())
    .value(
        "nodes",
        Count,
        "count by (namespace, workload_kind, workload) (sum by (instance, namespace, workload_kind, \
         workload) (increase(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[range])) > 0)",
    )
    .link("workload", "This workload", RESETS, &["workload"])
    .link("namespace", "This namespace", RESETS, &["namespace"]);
    let history = panel(
        TimeSeries,
        "Resets by workload",
        "The ten workloads with most resets, without refused connections.",
        PerSecond,
    )
    .target(query(
        "topk(10, sum by (namespace, workload) \
         (rate(@resets_total{direction=$,namespace=$,workload=$,cause!='refused'}[rate])))",
        "{{namespace}}/{{workload}}",
    ));
    vec![row("Workloads: $namespace / $workload"), table.build(), history]
}

/// Details of the selected workloads.
fn selected_workloads() -> Vec<Panel> {
    let history = panel(
        TimeSeries,
        "Selected workloads by cause",
        "Resets of the selected workloads by direction and cause.",
        PerSecond,
    )
    .stacked()
    .coloured(&causes())
    .target(query(
        &sum_by_cause(&["direction"], "rate(@resets_total{direction=$,namespace=$,workload=$}[rate])"),
        "{{direction}} {{cause}}",
    ));
    let senders = panel(
        TimeSeries,
        "Selected workloads by sender",
        "Resets of the selected workloads by direction and sender.",
        PerSecond,
    )
    .stacked()
    .coloured(&SENDERS)
    .target(query(
        "sum by (direction, sender) (rate(@resets_total{direction=$,namespace=$,workload=$}[rate]))",
        "{{direction}} {{sender}}",
    ));
    let table = table(
        "Selected workloads in detail",
        "Resets of the selected workloads in the time range, by node, direction, cause and sender. To see individual resets, \
         run `rstwatch trace --cause CAUSE` on the node.",
        "instance, namespace, workload, direction, cause, sender",
    )
    .value(
        "resets",
        Count,
        &format!(
            "topk(100, {})",
            sum_by_cause(
                &["instance", "namespace", "workload", "direction", "sender"],
                "increase(@resets_total{direction=$,namespace=$,workload=$}[range])",
            ),
        ),
    )
    .coloured("cause", &causes())
    .coloured("sender", &SENDERS)
    .link("instance", "This node", RESETS, &["instance"])
    .link("workload", "This workload", RESETS, &["workload"]);
    vec![row("Selected workloads in detail"), history, senders, table.build().size(GRID, 9)]
}
