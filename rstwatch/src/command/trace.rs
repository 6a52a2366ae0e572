//! `rstwatch trace`: live verdicts, on stdout.

use std::time::Duration;

use crate::capture::{Attachment, Capture};
use crate::command::output::Output;
use crate::command::runtime::{Signals, block_on, hold_signals};
use crate::command::settings::TraceSettings;
use crate::command::watch::{attach, colour, scope, tell};
use crate::present::render::Renderer;
use rstwatch_verdict::judged::Judged;

/// Shows events until the count, the time or a signal ends it.
///
/// # Errors
/// If it cannot attach or write, in one line.
pub fn run(settings: TraceSettings) -> anyhow::Result<()> {
    hold_signals();
    let attachment = attach(&settings.capture)?;
    block_on(trace(settings, attachment))
}

async fn trace(settings: TraceSettings, attachment: Attachment) -> anyhow::Result<()> {
    let mut signals = Signals::stop_only()?;
    let mut capture = Capture::start(attachment, &settings.capture, &settings.node)?;
    // Scripts wait for this line: events are seen from here on.
    tell(&format!("watching {}; Ctrl-C ends", scope(&settings.capture)));
    let mut shown = Shown::new(&settings);
    let output = Output::start(std::io::stdout())?;
    tokio::select! {
        () = show(&mut capture, &mut shown, &output) => (),
        _ = signals.next() => (),
        () = after(settings.duration) => (),
        () = output.closed() => (),
    }
    for judged in capture.finish() {
        shown.line(&judged).into_iter().for_each(|line| output.offer(line));
    }
    output.finish().await?;
    tell_losses(&capture);
    Ok(())
}

/// Shows events until there are no more, or enough of them.
async fn show(capture: &mut Capture, shown: &mut Shown, output: &Output) {
    while !shown.enough() {
        let Some(judged) = capture.next().await else { return };
        if let Some(line) = shown.line(&judged) {
            output.send(line).await;
        }
    }
}

async fn after(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Which events were wanted and how they look.
struct Shown {
    settings: TraceSettings,
    renderer: Renderer,
    count: u64,
}

impl Shown {
    fn new(settings: &TraceSettings) -> Self {
        Self { settings: settings.clone(), renderer: Renderer::new(colour()), count: 0 }
    }

    fn enough(&self) -> bool {
        self.settings.count.is_some_and(|count| self.count >= count)
    }

    /// The event's text, if it is wanted.
    fn line(&mut self, judged: &Judged) -> Option<String> {
        if self.enough() || !self.settings.filter.admits(&judged.event) {
            return None;
        }
        self.count += 1;
        if self.settings.json {
            return serde_json::to_string(&judged.event).ok().map(|line| line + "\n");
        }
        Some(self.renderer.event(judged))
    }
}

fn tell_losses(capture: &Capture) {
    let lost: u64 = capture.kernel_counts().map_or(0, |counts| counts.undelivered.iter().map(|(_, _, n)| n).sum());
    if lost > 0 {
        tell(&format!("{lost} resets came too fast to be shown: the agent counts them as unsampled"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command::cli::{Cli, Command};
    use rstwatch_verdict::testing::sample;

    fn settings(args: &[&str]) -> TraceSettings {
        match Cli::try_parse_from(["rstwatch", "trace"].iter().chain(args)).expect("arguments").command {
            Command::Trace(args) => args.settings().expect("settings"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_wanted_is_shown_and_counted() {
        let mut shown = Shown::new(&settings(&["--count=2", "--cause=idle_reaped", "--json"]));
        let mut other = sample::judged_idle_reaped();
        other.event.cause = rstwatch_verdict::cause::Cause::Refused;
        assert_eq!(shown.line(&other), None);
        for _ in 0..2 {
            assert!(!shown.enough());
            let line = shown.line(&sample::judged_idle_reaped()).expect("shown");
            let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(
                (json["cause"].as_str(), json["time"].as_str()),
                (Some("idle_reaped"), Some("2025-10-09T12:31:07.482Z"))
            );
            assert!(line.ends_with("}\n") && line.lines().count() == 1);
        }
        assert!(shown.enough());
        assert_eq!(shown.line(&sample::judged_idle_reaped()), None);
    }
}
