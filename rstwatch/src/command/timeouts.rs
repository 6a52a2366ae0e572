//! `rstwatch timeouts`: observes connections for a while, then prints each destination's idle timeout.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::capture::{Attachment, Capture};
use crate::command::output::Output;
use crate::command::runtime::{Signals, block_on, hold_signals};
use crate::command::settings::TimeoutsSettings;
use crate::command::watch::{Watcher, attach, print_notice, scope, watch};
use crate::kernel::hooks::SAMPLER_HOOK;
use crate::kernel::probe::Probes;
use crate::present::timeouts::{TimeoutList, text};
use crate::stats::idle_timeouts::IdleTimeouts;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::text::{count, fraction};

/// Runs the command.
///
/// # Errors
/// Fails with one line if attaching or writing fails.
pub fn run(settings: TimeoutsSettings) -> anyhow::Result<()> {
    hold_signals();
    let attachment = attach(&settings.capture)?;
    block_on(timeouts(settings, attachment))
}

async fn timeouts(settings: TimeoutsSettings, attachment: Attachment) -> anyhow::Result<()> {
    let mut signals = Signals::stop_only()?;
    let mut capture = Capture::start(attachment, &settings.capture, &settings.node)?;
    print_notice(&format!("watching {}; press Ctrl-C to stop early", scope(&settings.capture)));
    let mut idle_timeouts = IdleTimeouts::new(settings.destinations);
    let watched = watch(&mut capture, &mut signals, settings.duration, &mut idle_timeouts).await;
    idle_timeouts.absorb(&capture.gaps(), Timestamp::now());
    let list = timeout_list(&settings, &idle_timeouts, watched, measures_survival(capture.probes()));
    let output = Output::start(std::io::stdout())?;
    output.send(if settings.json { serde_json::to_string(&list)? + "\n" } else { text(&list) }).await;
    // If nothing reads the output, another signal ends the command.
    output.finish_unless(signals.next()).await
}

impl Watcher for IdleTimeouts {
    fn observe(&mut self, judged: &Judged) {
        self.record(judged);
    }

    fn progress(&self) -> String {
        let destinations = self.all().iter().filter(|destination| destination.died.is_some()).count() as u64;
        format!("idle connections to {} died", count(destinations, "destination", "destinations"))
    }
}

/// Whether the sampler runs, which measures the idle gaps that connections survive.
fn measures_survival(probes: &Probes) -> bool {
    probes.is_attached(SAMPLER_HOOK)
}

/// The command's result, as printed.
fn timeout_list(
    settings: &TimeoutsSettings,
    idle_timeouts: &IdleTimeouts,
    watched: Duration,
    survived_measured: bool,
) -> TimeoutList {
    TimeoutList {
        node: Arc::clone(&settings.node),
        scope: scope(&settings.capture),
        watched_seconds: fraction(watched),
        survived_measured,
        forgotten: idle_timeouts.evicted(),
        destinations: idle_timeouts.all(),
    }
}
