//! What the commands share that watch for a while: attaching, what they say of it, and when they end.

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

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(500);

/// Attaches, then gives up every right that is not needed to read what was attached. No thread may have been started.
///
/// # Errors
/// If it cannot attach, in one line.
pub fn attach(settings: &CaptureSettings) -> anyhow::Result<Attachment> {
    let attachment = Attachment::new(settings)?;
    lockdown(&settings.needs()).log();
    Ok(attachment)
}

/// Who watches.
pub trait Watcher {
    /// An event came.
    fn take(&mut self, judged: &Judged);
    /// What was found so far, in a few words for the line of progress.
    fn found(&self) -> String;
}

/// Hands events to a watcher until the time is over, a signal comes, or there are no more. Answers how long that was.
///
/// On a terminal a line on stderr shows progress.
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
            _ = ticks.tick() => progress.show(start.elapsed(), &watcher.found()),
            judged = capture.next() => match judged {
                Some(judged) => watcher.take(&judged),
                None => break,
            },
        }
    }
    let watched = start.elapsed();
    progress.end();
    capture.finish().iter().for_each(|judged| watcher.take(judged));
    watched
}

/// What is watched, in words.
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

/// For people, beside the output. That nobody may be there is no failure.
pub fn tell(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether stdout takes colour.
pub fn colour() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !no_color
}

/// One line on a terminal's stderr, rewritten in place; nothing where stderr is something else.
struct Progress {
    terminal: bool,
    duration: Duration,
}

impl Progress {
    fn new(duration: Duration) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), duration }
    }

    /// Rewrites the line. What it says is ours, or printable.
    fn show(&self, elapsed: Duration, found: &str) {
        if self.terminal {
            _ = write!(std::io::stderr(), "\r\x1b[K{}", progress(elapsed, self.duration, found));
        }
    }

    /// Wipes the line.
    fn end(&self) {
        if self.terminal {
            _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn progress(elapsed: Duration, of: Duration, found: &str) -> String {
    // Lines that wrap cannot be rewritten.
    let text = format!("{} of {} s: {found}", elapsed.as_secs(), of.as_secs());
    text.chars().take(78).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::command::config::Config;
    use crate::command::settings::capture_settings;

    #[test]
    fn the_scope_is_said() {
        let cases: [(&[&str], Option<&str>, &str); 4] = [
            (&[], None, "every network namespace"),
            (&["/run/netns/a"], None, "network namespace /run/netns/a"),
            (&["a", "b\x1b"], None, "2 network namespaces"),
            (&["b\n"], Some("/c"), "network namespace b\\n, cgroup /c"),
        ];
        for (netns, cgroup, words) in cases {
            let netns = netns.iter().map(PathBuf::from).collect();
            let settings = capture_settings(netns, cgroup.map(PathBuf::from), &Config::default());
            assert_eq!(scope(&settings), words);
        }
    }

    #[test]
    fn progress_fits_a_line() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(progress(second, minute, "no resets"), "1 of 60 s: no resets");
        assert_eq!(progress(second, minute, &"x".repeat(200)).len(), 78);
    }
}
