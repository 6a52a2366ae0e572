//! Metrics of resets, their idle times, and the events behind them.

use std::fmt;

use super::{Labels, LossStage, Series, Totals};
use crate::metric::{Family, Label, Unit, Writer};

const DIRECTION: Label = Label::new(
    "direction",
    "`sent`: this host's stack or firewall emitted the RST; `received`: a socket of this host accepted it",
);
const CAUSE: Label = Label::new(
    "cause",
    "the verdict, as `rstwatch explain` lists them; `unsampled`: counted in the kernel, but its event was not delivered",
);
const SENDER: Label =
    Label::new("sender", "`local_app`, `local_kernel`, `local_firewall`, `peer`, `middlebox` or `unknown`");
const REASON: Label = Label::new(
    "reason",
    "the kernel's `sk_rst_reason`; `none`: received resets have no reason; `nf_reject`: sent by netfilter; `missed`: the kernel skipped the program, so the reason is unknown",
);
const STAGE: Label =
    Label::new("stage", "where the details were lost: `missed`, `rate_limited`, `ring_full`, `decode` or `follower`");

/// Kind of a workload.
pub const WORKLOAD_KIND: Label =
    Label::new("workload_kind", "`pod`, `container`, `unit` or `process`; empty if the owner is unknown");
/// Kubernetes namespace of a workload.
pub const NAMESPACE: Label = Label::new("namespace", "Kubernetes namespace; empty for workloads without one");
/// Name of a workload.
pub const WORKLOAD: Label = Label::new(
    "workload",
    "owner of the connection or listener; `_other`: beyond the configured limit; empty if the owner is unknown",
);

/// Resets and idle times.
pub const RESETS: &[Family<Totals>] = &[
    Family::counter(
        "resets",
        "TCP resets by verdict, since the agent started. Summed over cause they equal kernel_resets; resets whose event was not delivered have the cause unsampled.",
        resets,
    )
    .labels(&[DIRECTION, CAUSE, SENDER, WORKLOAD_KIND, NAMESPACE, WORKLOAD]),
    Family::counter(
        "kernel_resets",
        "TCP resets by the kernel's reason (enum sk_rst_reason in include/net/rstreason.h), counted exactly in the kernel since the agent started.",
        kernel_resets,
    )
    .labels(&[DIRECTION, REASON]),
    Family::histogram(
        "reset_idle",
        "Idle time of a connection in seconds, before the operation that met the reset or, without one, before the reset.",
        reset_idle,
    )
    .unit(Unit::Seconds)
    .labels(&[DIRECTION, CAUSE]),
];

/// The agent's own events.
pub const EVENTS: &[Family<EventCounts>] = &[
    Family::counter("events", "Events classified since the agent started.", |it, out| out.count(Some(it.classified))),
    Family::counter(
        "events_lost",
        "Events lost since the agent started, by stage. Their resets are still counted: as unsampled, or at stage follower by their cause.",
        events_lost,
    )
    .labels(&[STAGE]),
    Family::counter(
        "sockets_untracked",
        "Sockets since the agent started that found no room in the kernel side's table of connections, or lost it to another owner's. Their resets are counted; verdicts about them have less evidence.",
        |it, out| out.count(Some(it.untracked)),
    ),
    Family::counter(
        "series_folded",
        "Resets counted as workload _other since the agent started, because the limit of workloads was reached.",
        |it, out| out.count(Some(it.folded)),
    ),
];

/// What became of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCounts {
    classified: u64,
    lost: [(LossStage, u64); LossStage::ALL.len()],
    follower_missed: u64,
    untracked: u64,
    folded: u64,
}

impl EventCounts {
    /// Of these totals. `follower_missed`: events that HTTP followers were too slow to read.
    pub fn new(totals: &Totals, follower_missed: u64) -> Self {
        let lost = LossStage::ALL.map(|stage| (stage, totals.lost(stage)));
        Self {
            classified: totals.events(),
            lost,
            follower_missed,
            untracked: totals.untracked(),
            folded: totals.folded(),
        }
    }
}

impl Labels {
    /// The values of the labels [`WORKLOAD_KIND`], [`NAMESPACE`] and [`WORKLOAD`].
    pub fn values(&self) -> [&str; 3] {
        let Self { kind, namespace, workload } = self;
        [kind, namespace, workload]
    }
}

fn resets(totals: &Totals, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for (series, count) in totals.resets() {
        let Series { direction, cause, sender, workload } = series;
        let [kind, namespace, workload] = totals.labels(workload).values();
        let values = [direction.as_str(), cause.as_str(), sender.as_str(), kind, namespace, workload];
        samples.count(&values, count)?;
    }
    Ok(())
}

fn kernel_resets(totals: &Totals, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for (direction, reason, count) in totals.kernel_resets() {
        samples.count(&[direction.as_str(), reason], count)?;
    }
    Ok(())
}

fn reset_idle(totals: &Totals, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for (direction, cause, histogram) in totals.idle() {
        let values = [direction.as_str(), cause.as_str()];
        samples.histogram(&values, histogram.sum(), histogram.count(), &histogram.buckets())?;
    }
    Ok(())
}

fn events_lost(events: &EventCounts, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for (stage, count) in events.lost {
        samples.count(&[stage.as_str()], count)?;
    }
    samples.count(&["follower"], events.follower_missed)
}
