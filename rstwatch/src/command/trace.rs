//! `rstwatch trace`: prints verdicts as resets happen.

use std::time::Duration;

use crate::capture::{Attachment, Capture};
use crate::command::output::Output;
use crate::command::runtime::{Signals, block_on, hold_signals};
use crate::command::settings::TraceSettings;
use crate::command::watch::{attach, print_notice, scope, use_colour};
use crate::present::render::Renderer;
use rstwatch_verdict::judged::Judged;

/// Prints events until the requested count or duration is reached, or a signal arrives.
///
/// # Errors
/// If the programs cannot be attached or the output cannot be written.
pub fn run(settings: TraceSettings) -> anyhow::Result<()> {
    hold_signals();
    let attachment = attach(&settings.capture)?;
    block_on(trace(settings, attachment))
}

async fn trace(settings: TraceSettings, attachment: Attachment) -> anyhow::Result<()> {
    let mut signals = Signals::stop_only()?;
    let mut capture = Capture::start(attachment, &settings.capture, &settings.node)?;
    // Scripts wait for this line: events are captured from here on.
    print_notice(&format!("watching {}; press Ctrl-C to stop", scope(&settings.capture)));
    let mut printer = Printer::new(&settings);
    let output = Output::start(std::io::stdout())?;
    tokio::select! {
        () = print(&mut capture, &mut printer, &output) => (),
        _ = signals.next() => (),
        () = sleep_for(settings.duration) => (),
        () = output.closed() => (),
    }
    for judged in capture.finish() {
        printer.format(&judged).into_iter().for_each(|text| output.offer(text));
    }
    output.finish().await?;
    print_losses(&capture);
    Ok(())
}

/// Prints events until the capture ends or the requested count is reached.
async fn print(capture: &mut Capture, printer: &mut Printer, output: &Output) {
    while !printer.is_done() {
        let Some(judged) = capture.next().await else { return };
        if let Some(text) = printer.format(&judged) {
            output.send(text).await;
        }
    }
}

/// Sleeps for the duration, or forever if there is none.
async fn sleep_for(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Filters, formats and counts events.
struct Printer {
    settings: TraceSettings,
    renderer: Renderer,
    count: u64,
}

impl Printer {
    fn new(settings: &TraceSettings) -> Self {
        Self { settings: settings.clone(), renderer: Renderer::new(use_colour()), count: 0 }
    }

    /// Whether the requested count has been reached.
    fn is_done(&self) -> bool {
        self.settings.count.is_some_and(|count| self.count >= count)
    }

    /// Formats an event as text or JSON; `None` if the filter rejects it or the count has been reached.
    fn format(&mut self, judged: &Judged) -> Option<String> {
        if self.is_done() || !self.settings.filter.admits(&judged.event) {
            return None;
        }
        self.count += 1;
        if self.settings.json {
            return serde_json::to_string(&judged.event).ok().map(|line| line + "\n");
        }
        Some(self.renderer.event(judged))
    }
}

/// Reports resets whose details were not delivered.
fn print_losses(capture: &Capture) {
    let lost: u64 = capture.kernel_counts().map_or(0, |counts| counts.undelivered.iter().map(|(_, _, n)| n).sum());
    if lost > 0 {
        print_notice(&format!(
            "{lost} resets are not shown: they arrived faster than their details could be delivered"
        ));
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
    fn only_matching_events_are_printed_and_counted() {
        let mut printer = Printer::new(&settings(&["--count=2", "--cause=idle_reaped", "--json"]));
        let mut other = sample::judged_idle_reaped();
        other.event.cause = rstwatch_verdict::cause::Cause::Refused;
        assert_eq!(printer.format(&other), None);
        for _ in 0..2 {
            assert!(!printer.is_done());
            let line = printer.format(&sample::judged_idle_reaped()).expect("selected");
            let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(
                (json["cause"].as_str(), json["time"].as_str()),
                (Some("idle_reaped"), Some("2025-10-09T12:31:07.482Z"))
            );
            assert!(line.ends_with("}\n") && line.lines().count() == 1);
        }
        assert!(printer.is_done());
        assert_eq!(printer.format(&sample::judged_idle_reaped()), None);
    }
}
