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
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    events: Vec<Event>,
    not_events: u64,
    complaints: Vec<String>,
}

impl Program {
    pub(crate) fn start(net: &Net, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let said = Arc::new(Mutex::new(Said::default()));
        follow(child.stdout.take(), &said, |said, line| match Event::parse(&line) {
            Ok(event) => said.events.push(event),
            Err(_) => said.not_events += 1,
        });
        follow(child.stderr.take(), &said, |said, line| {
            said.complaints.push(line);
        });
        Ok(Self { process: Process::adopt(child, &net.cleanup)?, said })
    }

    pub(crate) fn says(&mut self, word: &str) -> Result<()> {
        until_true(&format!("the word {word:?}"), STARTS, || {
            let said = self.look(|said| said.complaints.iter().any(|line| line.starts_with(word)));
            if !said {
                self.lives()?;
            }
            Ok(said)
        })
    }

    pub(crate) fn lives(&mut self) -> Result<()> {
        if self.process.ended()? {
            let last = self.look(|said| said.complaints.last().cloned());
            bail!("ended: {}", last.as_deref().unwrap_or("no message"));
        }
        Ok(())
    }

    pub(crate) fn events(&self, port: u16) -> Vec<Event> {
        self.look(|said| said.events.iter().filter(|event| event.is_on(port)).cloned().collect())
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.lives()?;
        self.process.end()?;
        match self.look(|said| said.not_events) {
            0 => Ok(()),
            lines => bail!("{lines} lines on stdout were not events"),
        }
    }

    fn look<T>(&self, what: impl FnOnce(&Said) -> T) -> T {
        what(&self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn follow<R: Read + Send + 'static>(
    pipe: Option<R>,
    said: &Arc<Mutex<Said>>,
    hear: impl Fn(&mut Said, String) + Send + 'static,
) {
    let Some(pipe) = pipe else { return };
    let said = Arc::clone(said);
    // Ends with the pipe, when the child ends.
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            hear(&mut said.lock().unwrap_or_else(PoisonError::into_inner), line);
        }
    });
}
