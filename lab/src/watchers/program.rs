//! A running rstwatch under test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::network::net::Net;
use crate::network::peer::Process;
use crate::wait::until_true;
use crate::watchers::event::Event;

/// How long loading and attaching may take on a busy machine.
pub(crate) const STARTS: Duration = Duration::from_secs(20);

/// A child process. Its output is read as it comes, so that it never blocks.
pub(crate) struct Program {
    process: Process,
    output: Arc<Mutex<Output>>,
}

#[derive(Default)]
struct Output {
    events: Vec<Event>,
    not_events: u64,
    log: Vec<String>,
}

impl Program {
    pub(crate) fn start(net: &Net, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let output = Arc::new(Mutex::new(Output::default()));
        follow(child.stdout.take(), &output, |output, line| match Event::parse(&line) {
            Ok(event) => output.events.push(event),
            Err(_) => output.not_events += 1,
        });
        follow(child.stderr.take(), &output, |output, line| {
            output.log.push(line);
        });
        Ok(Self { process: Process::adopt(child, &net.cleanup)?, output })
    }

    pub(crate) fn wait_for_line(&mut self, word: &str) -> Result<()> {
        until_true(&format!("the word {word:?}"), STARTS, || {
            let seen = self.with_output(|output| output.log.iter().any(|line| line.starts_with(word)));
            if !seen {
                self.ensure_running()?;
            }
            Ok(seen)
        })
    }

    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        if self.process.ended()? {
            let last = self.with_output(|output| output.log.last().cloned());
            bail!("ended: {}", last.as_deref().unwrap_or("no message"));
        }
        Ok(())
    }

    pub(crate) fn events(&self, port: u16) -> Vec<Event> {
        self.with_output(|output| output.events.iter().filter(|event| event.is_on(port)).cloned().collect())
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.ensure_running()?;
        self.process.end()?;
        match self.with_output(|output| output.not_events) {
            0 => Ok(()),
            lines => bail!("{lines} lines on stdout were not events"),
        }
    }

    fn with_output<T>(&self, what: impl FnOnce(&Output) -> T) -> T {
        what(&self.output.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn follow<R: Read + Send + 'static>(
    pipe: Option<R>,
    output: &Arc<Mutex<Output>>,
    take: impl Fn(&mut Output, String) + Send + 'static,
) {
    let Some(pipe) = pipe else { return };
    let output = Arc::clone(output);
    // Ends with the pipe, when the child ends.
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            take(&mut output.lock().unwrap_or_else(PoisonError::into_inner), line);
        }
    });
}
