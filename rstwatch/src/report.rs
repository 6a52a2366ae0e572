//! `rstwatch report`: watches, then says what a good engineer would write who followed the playbook.

use jiff::Timestamp;

use crate::aggregate::KernelCounts;
use crate::bounds::Bounds;
use crate::filter::Filter;
use crate::kernel::probe::Probes;
use crate::output::Output;
use crate::pipeline::{Attachment, Capture};
use crate::record::Event;
use crate::runtime::{Signals, block_on, hold_signals};
use crate::settings::ReportSettings;
use crate::text::count;
use crate::watch::{Watcher, attach, colour, scope, tell, watch};

mod bursts;
mod diagnosis;
mod pressure;
mod tally;
mod text;
mod top;

use diagnosis::{Diagnosis, Frame};
use pressure::Pressure;
use tally::Tally;

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
    findings.bounds.absorb(&capture.gaps(), Timestamp::now());
    let frame = Frame {
        node: settings.node,
        scope: scope(&settings.capture),
        filtered: findings.filter != Filter::default(),
        started,
        watched,
        pressure: Pressure::read().since(&before),
    };
    let diagnosis = findings.diagnosis(frame, &lost(&capture), capture.probes());
    let text =
        if settings.json { serde_json::to_string(&diagnosis)? + "\n" } else { text::report(&diagnosis, colour()) };
    let output = Output::start(std::io::stdout())?;
    output.send(text).await;
    // A second signal ends what nobody reads.
    output.finish_unless(signals.next()).await
}

/// What the kernel side counted; nothing where it refuses, which the capture has said.
fn lost(capture: &Capture) -> KernelCounts {
    capture.kernel_counts().unwrap_or_default()
}

/// What is found while watching: sums, no events.
struct Findings {
    filter: Filter,
    tally: Tally,
    bounds: Bounds,
}

impl Findings {
    fn new(filter: Filter, destinations: usize) -> Self {
        Self { filter, tally: Tally::default(), bounds: Bounds::new(destinations) }
    }

    fn diagnosis(mut self, frame: Frame, counts: &KernelCounts, probes: &Probes) -> Diagnosis {
        Diagnosis::new(frame, &mut self.tally, &self.bounds, counts, probes)
    }
}

impl Watcher for Findings {
    fn take(&mut self, event: &Event) {
        if !self.filter.admits(event) {
            return;
        }
        self.bounds.record(event);
        // Where one end alone is asked for, the other end's event is not there to be counted.
        if event.aside.repeats_sent && (self.filter.direction.is_some() || self.filter.peer.is_some()) {
            let mut alone = event.clone();
            alone.aside.repeats_sent = false;
            return self.tally.take(&alone);
        }
        self.tally.take(event);
    }

    fn found(&self) -> String {
        let most = self.tally.causes.iter().max_by_key(|(_, of)| of.resets);
        let most = most.map_or(String::new(), |(cause, _)| format!(", most of them {cause}"));
        match self.tally.resets() {
            0 => "no resets".to_owned(),
            n => count(n, "reset", "resets") + &most,
        }
    }
}

#[cfg(test)]
mod tests;
