//! Shared by the commands that watch: attaching, messages on stderr, and the loop that collects events.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::capture::settings::CaptureSettings;
use crate::capture::{Attachment, Capture};
use crate::command::runtime::Signals;
use crate::sandbox::lockdown;
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::judged::Judged;

/// Interval between updates of the progress line.
const TICK: Duration = Duration::from_millis(500);

/// Attaches, then drops every capability that is not needed from there on. Must be called before any thread is started.
///
/// # Errors
/// One line, if it cannot attach.
pub fn attach(settings: &CaptureSettings) -> anyhow::Result<Attachment> {
    let attachment = Attachment::new(settings)?;
    lockdown(&settings.needs()).log();
    Ok(attachment)
}

/// Collects the events of a watch.
pub trait Watcher {
    /// Adds an event.
    fn observe(&mut self, judged: &Judged);
    /// The findings so far, in a few words for the progress line.
    fn progress(&self) -> String;
}

/// Passes events to a watcher until the time is over, a signal comes or the capture ends. Returns how long that took.
///
/// If stderr is a terminal, a line there shows progress.
pub async fn watch(
    capture: &mut Capture,
    signals: &mut Signals,
    duration: Duration,
    watcher: &mut impl Watcher,
) -> Duration {
    let progress = Progress::new(duration);
    let start = Instant::now();
    let mut end = pin!(tokio::time::sleep(duration));
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = signals.next() => break,
            _ = ticks.tick() => progress.show(start.elapsed(), &watcher.progress()),
            judged = capture.next() => match judged {
                Some(judged) => watcher.observe(&judged),
                None => break,
            },
        }
    }
    let watched = start.elapsed();
    progress.end();
    capture.finish().iter().for_each(|judged| watcher.observe(judged));
    watched
}

/// Describes what is watched.
pub fn scope(CaptureSettings { netns, cgroup, .. }: &CaptureSettings) -> String {
    let mut scope = match netns.as_slice() {
        [] => "every network namespace".to_owned(),
        [one] => format!("network namespace {}", one.display()),
        many => format!("{} network namespaces", many.len()),
    };
    if let Some(cgroup) = cgroup {
        _ = write!(scope, ", cgroup {}", cgroup.display());
    }
    printable(&scope).into_owned()
}

/// Prints a line to stderr. A closed stderr is not an error.
pub fn print_notice(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether to colour stdout.
pub fn use_colour() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !no_color
}

/// A line on stderr that is rewritten in place; shown only if stderr is a terminal.
struct Progress {
    terminal: bool,
    duration: Duration,
}

impl Progress {
    fn new(duration: Duration) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), duration }
    }

    /// Rewrites the line. `findings` must be printable.
    fn show(&self, elapsed: Duration, findings: &str) {
        if self.terminal {
            _ = write!(std::io::stderr(), "\r\x1b[K{}", progress_line(elapsed, self.duration, findings));
        }
    }

    /// Clears the line.
    fn end(&self) {
        if self.terminal {
            _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn progress_line(elapsed: Duration, total: Duration, findings: &str) -> String {
    // A line that wraps cannot be rewritten in place.
    let text = format!("{} of {} s: {findings}", elapsed.as_secs(), total.as_secs());
    text.chars().take(78).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::command::config::Config;
    use crate::command::settings::capture_settings;

    #[test]
    fn scope_names_namespaces_and_cgroup() {
        let cases: [(&[&str], Option<&str>, &str); 4] = [
            (&[], None, "every network namespace"),
            (&["/run/netns/a"], None, "network namespace /run/netns/a"),
            (&["a", "b\x1b"], None, "2 network namespaces"),
            (&["b\n"], Some("/c"), "network namespace b\\n, cgroup /c"),
        ];
        for (netns, cgroup, expected) in cases {
            let netns = netns.iter().map(PathBuf::from).collect();
            let settings = capture_settings(netns, cgroup.map(PathBuf::from), &Config::default());
            assert_eq!(scope(&settings), expected);
        }
    }

    #[test]
    fn progress_fits_on_a_line() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(progress_line(second, minute, "no resets"), "1 of 60 s: no resets");
        assert_eq!(progress_line(second, minute, &"x".repeat(200)).len(), 78);
    }
}
