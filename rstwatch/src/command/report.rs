//! `rstwatch report`: watches for a while, then prints a diagnosis.

use jiff::Timestamp;

use super::output::Output;
use super::runtime::{Signals, block_on, hold_signals};
use super::settings::ReportSettings;
use super::watch::{Watcher, attach, print_notice, scope, use_colour, watch};
use crate::capture::{Attachment, Capture};
use crate::present::report::{self, Findings, Pressure, Watch};
use crate::stats::aggregate::KernelCounts;
use rstwatch_verdict::judged::Judged;

/// Watches, then reports; a signal ends the watch early.
///
/// # Errors
/// One line, if it cannot attach or write.
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
    print_notice(&format!("watching {}; press Ctrl-C to stop early and report", scope(&settings.capture)));
    let mut findings = Findings::new(settings.filter.clone(), settings.destinations);
    let watched = watch(&mut capture, &mut signals, settings.duration, &mut findings).await;
    findings.absorb(&capture.gaps(), Timestamp::now());
    let watch = Watch {
        node: settings.node,
        scope: scope(&settings.capture),
        filtered: findings.is_filtered(),
        started,
        watched,
        pressure: Pressure::read().since(&before),
    };
    let diagnosis = findings.diagnosis(watch, &kernel_counts(&capture), capture.probes());
    let text =
        if settings.json { serde_json::to_string(&diagnosis)? + "\n" } else { report::write(&diagnosis, use_colour()) };
    let output = Output::start(std::io::stdout())?;
    output.send(text).await;
    // A second signal ends the command if the output is not read.
    output.finish_unless(signals.next()).await
}

/// The counts of the kernel side; none if it cannot be read, which the capture has logged.
fn kernel_counts(capture: &Capture) -> KernelCounts {
    capture.kernel_counts().unwrap_or_default()
}

impl Watcher for Findings {
    fn observe(&mut self, judged: &Judged) {
        self.record(judged);
    }

    fn progress(&self) -> String {
        self.summary()
    }
}
