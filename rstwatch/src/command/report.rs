//! `rstwatch report`: watches, then says what a good engineer would write who followed the playbook.

use jiff::Timestamp;

use super::output::Output;
use super::runtime::{Signals, block_on, hold_signals};
use super::settings::ReportSettings;
use super::watch::{Watcher, attach, colour, scope, tell, watch};
use crate::capture::{Attachment, Capture};
use crate::present::report::{self, Findings, Frame, Pressure};
use crate::stats::aggregate::KernelCounts;
use rstwatch_verdict::judged::Judged;

/// Watches, then reports; a signal ends the watch early.
///
/// # Errors
/// If it cannot attach or write, in one line.
pub fn run(settings: ReportSettings) -> anyhow::Result<()> {
    hold_signals();
    let attachment = attach(&settings.capture)?;
    block_on(report(settings, attachment))
}

async fn report(settings: ReportSettings, attachment: Attachment) -> anyhow::Result<()> {
    let mut signals = Signals::stop_only()?;
    let mut capture = Capture::start(attachment, &settings.capture, &settings.node)?;
    let before = Pressure::read();
    let started = Timestamp::now();
    tell(&format!("watching {}; Ctrl-C ends early and reports", scope(&settings.capture)));
    let mut findings = Findings::new(settings.filter.clone(), settings.destinations);
    let watched = watch(&mut capture, &mut signals, settings.duration, &mut findings).await;
    findings.absorb(&capture.gaps(), Timestamp::now());
    let frame = Frame {
        node: settings.node,
        scope: scope(&settings.capture),
        filtered: findings.is_filtered(),
        started,
        watched,
        pressure: Pressure::read().since(&before),
    };
    let diagnosis = findings.diagnosis(frame, &lost(&capture), capture.probes());
    let text =
        if settings.json { serde_json::to_string(&diagnosis)? + "\n" } else { report::write(&diagnosis, colour()) };
    let output = Output::start(std::io::stdout())?;
    output.send(text).await;
    // A second signal ends what nobody reads.
    output.finish_unless(signals.next()).await
}

/// What the kernel side counted; nothing where it refuses, which the capture has said.
fn lost(capture: &Capture) -> KernelCounts {
    capture.kernel_counts().unwrap_or_default()
}

impl Watcher for Findings {
    fn take(&mut self, judged: &Judged) {
        self.record(judged);
    }

    fn found(&self) -> String {
        self.summary()
    }
}
