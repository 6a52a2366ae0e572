//! `rstwatch timeouts`: after how much idle time each destination ends connections.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::capture::{Attachment, Capture};
use crate::command::output::Output;
use crate::command::runtime::{Signals, block_on, hold_signals};
use crate::command::settings::TimeoutsSettings;
use crate::command::watch::{Watcher, attach, scope, tell, watch};
use crate::kernel::hooks::SAMPLER_HOOK;
use crate::kernel::probe::Probes;
use crate::present::timeouts::{Found, text};
use crate::stats::idle_timeouts::IdleTimeouts;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::text::{count, fraction};

/// Watches, then prints what is known of each destination.
///
/// # Errors
/// If it cannot attach or write, in one line.
pub fn run(settings: TimeoutsSettings) -> anyhow::Result<()> {
    hold_signals();
    let attachment = attach(&settings.capture)?;
    block_on(timeouts(settings, attachment))
}

async fn timeouts(settings: TimeoutsSettings, attachment: Attachment) -> anyhow::Result<()> {
    let mut signals = Signals::stop_only()?;
    let mut capture = Capture::start(attachment, &settings.capture, &settings.node)?;
    tell(&format!("watching {}; Ctrl-C ends early", scope(&settings.capture)));
    let mut bounds = IdleTimeouts::new(settings.destinations);
    let watched = watch(&mut capture, &mut signals, settings.duration, &mut bounds).await;
    bounds.absorb(&capture.gaps(), Timestamp::now());
    let found = found(&settings, &bounds, watched, measured(capture.probes()));
    let output = Output::start(std::io::stdout())?;
    output.send(if settings.json { serde_json::to_string(&found)? + "\n" } else { text(&found) }).await;
    // A second signal ends what nobody reads.
    output.finish_unless(signals.next()).await
}

impl Watcher for IdleTimeouts {
    fn take(&mut self, judged: &Judged) {
        self.record(judged);
    }

    fn found(&self) -> String {
        let died = self.all().iter().filter(|it| it.died.is_some()).count() as u64;
        format!("idle connections died to {}", count(died, "destination", "destinations"))
    }
}

/// Whether silences that connections survive are measured.
fn measured(probes: &Probes) -> bool {
    probes.is_attached(SAMPLER_HOOK)
}

/// Everything that is printed.
fn found(settings: &TimeoutsSettings, bounds: &IdleTimeouts, watched: Duration, survived_measured: bool) -> Found {
    Found {
        node: Arc::clone(&settings.node),
        scope: scope(&settings.capture),
        watched_seconds: fraction(watched),
        survived_measured,
        forgotten: bounds.evicted(),
        destinations: bounds.all(),
    }
}
