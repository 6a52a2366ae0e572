//! A handful of resets, each with its true cause and with the verdicts of `rstwatch trace` on it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::network::peer::Process;
use crate::rows::table::{Row, rows};
use crate::scenarios::{Made, Scenarios};
use crate::watchers::program::STARTS;

/// The rows that the demo makes.
const SHOWN: [&str; 5] = ["1", "2", "3", "5", "6a"];
/// How long the verdicts on a reset may take.
const VERDICTS: Duration = Duration::from_secs(3);
/// A verdict is complete when no line has come for this long.
const QUIET: Duration = Duration::from_millis(100);

pub(crate) fn demo(rstwatch: &Path) -> Result<()> {
    let mut scenarios = Scenarios::build()?;
    let trace = Trace::start(rstwatch, &scenarios)?;
    for row in rows().filter(|row| SHOWN.contains(&row.id)) {
        match scenarios.make(row.id)? {
            Made::AtPort(port) => {
                println!("\nrow {}: {} (server port {port})\n  {}", row.id, row.what, truth(row));
                trace.show(port, row.wants.len());
            }
            Made::Missing(program) => println!("\nrow {}: skipped: {program} is not installed", row.id),
        }
    }
    println!();
    Ok(())
}

/// The true cause and sender of a row's reset.
fn truth(row: &Row) -> String {
    row.wants.first().map_or_else(String::new, |want| format!("truth: {}, sent by {}", want.cause, want.sender))
}

/// `rstwatch trace` in the lab's namespaces; ends with this value.
struct Trace {
    _process: Process,
    lines: Receiver<String>,
}

impl Trace {
    /// Starts it and waits until it is attached.
    fn start(rstwatch: &Path, scenarios: &Scenarios) -> Result<Self> {
        let mut command = Command::new(rstwatch);
        command.arg("trace").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for namespace in scenarios.namespaces() {
            command.arg("--netns").arg(namespace);
        }
        let mut child = command.spawn().context("cannot start rstwatch trace")?;
        let (lines, log) = (forward(child.stdout.take()), forward(child.stderr.take()));
        let trace = Self { _process: scenarios.adopt(child)?, lines };
        let started = Instant::now();
        let attached = std::iter::from_fn(|| log.recv_timeout(STARTS.saturating_sub(started.elapsed())).ok())
            .any(|line| line.starts_with("watching"));
        ensure!(attached, "rstwatch trace did not attach: run it alone to see why");
        Ok(trace)
    }

    /// Prints the verdicts on a port's resets: as many as are expected, or all that come in time.
    fn show(&self, port: u16, expected: usize) {
        let (started, mut seen, mut is_ours) = (Instant::now(), 0, false);
        loop {
            let timeout = if seen < expected { VERDICTS.saturating_sub(started.elapsed()) } else { QUIET };
            let Ok(line) = self.lines.recv_timeout(timeout) else { break };
            if is_head(&line) {
                is_ours = line.contains(&format!(":{port} "));
                seen += usize::from(is_ours);
            }
            if is_ours {
                println!("  {line}");
            }
        }
        if seen < expected {
            println!("  {seen} of {expected} verdicts came within {} s", VERDICTS.as_secs());
        }
    }
}

/// Whether a line is the first of a verdict; those that explain it are indented.
fn is_head(line: &str) -> bool {
    !line.starts_with(' ')
}

/// The lines of a pipe, read as they come so that the child never blocks on us.
fn forward(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let lines = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok));
        // Ends with the pipe. Lines that are no longer wanted are read and dropped.
        lines.for_each(|line| _ = sender.send(line));
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shown_row_exists_and_has_a_truth() {
        let shown: Vec<_> = rows().filter(|row| SHOWN.contains(&row.id)).collect();
        assert_eq!(shown.len(), SHOWN.len());
        for row in shown {
            assert!(truth(row).starts_with("truth: "), "{}", row.id);
        }
    }

    #[test]
    fn recognizes_the_first_line_of_a_verdict() {
        assert!(is_head(
            "09:35:58.315  sent      10.77.2.2:10003 -> 10.77.1.2:43146  refused  certain, by local_kernel"
        ));
        assert!(!is_head("              a SYN met a port where nothing listens"));
    }
}
