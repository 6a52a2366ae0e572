//! `rstwatch trace`: prints verdicts as resets happen.

use std::time::Duration;

use crate::capture::{Attachment, Capture};
use crate::command::output::Output;
use crate::command::runtime::{Signals, block_on, hold_signals};
use crate::command::settings::TraceSettings;
use crate::command::watch::{attach, print_notice, scope, use_colour};
use crate::kernel::counts::LossStage;
use crate::present::filter::Filter;
use crate::present::render::Renderer;
use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::text::count;

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
    print_losses(&capture, &settings.filter);
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

/// Reports resets whose details were not delivered; no other process counts them.
fn print_losses(capture: &Capture, filter: &Filter) {
    let line = match capture.kernel_counts() {
        Ok(counts) => losses(&counts.undelivered, *filter != Filter::default()),
        Err(error) => Some(format!("resets may be missing: the kernel's counts cannot be read: {error:#}")),
    };
    line.iter().for_each(|line| print_notice(line));
}

/// How many resets are not shown, and why; `None` if there are none.
fn losses(undelivered: &[(Direction, LossStage, u64)], filtered: bool) -> Option<String> {
    let sent = total(undelivered, |(direction, ..)| *direction == Direction::Sent);
    let received = total(undelivered, |(direction, ..)| *direction == Direction::Received);
    let stages = LossStage::ALL.map(|stage| (total(undelivered, |(_, it, _)| *it == stage), reason(stage)));
    let reasons: Vec<_> = stages.iter().filter(|(n, _)| *n > 0).map(|(n, reason)| format!("{n} {reason}")).collect();
    let resets = count(sent + received, "more reset was", "more resets were");
    let unfiltered = if filtered { "; the filter does not apply to them" } else { "" };
    let text = format!("{resets} counted but not shown ({sent} sent, {received} received): {}", reasons.join(", "));
    (sent + received > 0).then(|| text + unfiltered)
}

fn total<T>(undelivered: &[(T, LossStage, u64)], includes: impl Fn(&(T, LossStage, u64)) -> bool) -> u64 {
    undelivered.iter().filter(|lost| includes(lost)).map(|(.., n)| n).sum()
}

/// Why details are lost at a stage, with the setting that prevents it, if there is one.
fn reason(stage: LossStage) -> &'static str {
    match stage {
        LossStage::Missed => "came while the kernel was handling another on that CPU",
        LossStage::RateLimited => "exceeded detail_rate_per_second",
        LossStage::RingFull => "found the ring buffer full (ring_buffer_bytes)",
        LossStage::Decode => "could not be decoded",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::expect;

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

    #[test]
    fn resets_that_are_not_shown_are_counted_by_reason() {
        use Direction::{Received, Sent};
        assert_eq!(losses(&[(Sent, LossStage::RingFull, 0)], true), None);
        let line = losses(&[(Received, LossStage::RingFull, 1), (Sent, LossStage::Decode, 0)], true);
        expect!["1 more reset was counted but not shown (0 sent, 1 received): 1 found the ring buffer full (ring_buffer_bytes); the filter does not apply to them"].assert_eq(&line.unwrap_or_default());
        let undelivered = [
            (Sent, LossStage::RateLimited, 700),
            (Received, LossStage::RateLimited, 500),
            (Sent, LossStage::Missed, 2),
            (Received, LossStage::RingFull, 3),
            (Sent, LossStage::Decode, 1),
        ];
        let line = losses(&undelivered, false);
        expect!["1206 more resets were counted but not shown (703 sent, 503 received): 2 came while the kernel was handling another on that CPU, 1200 exceeded detail_rate_per_second, 3 found the ring buffer full (ring_buffer_bytes), 1 could not be decoded"].assert_eq(&line.unwrap_or_default());
    }
}
