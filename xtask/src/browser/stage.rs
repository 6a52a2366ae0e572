//! What the test in the browser asks for: resets of the lab, and the agent's end and beginning.
//!
//! It asks in lines on its stdout, and gets one line for each: `ok …` or `error …`.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::agent::Agent;
use lab::{Played, Stage};

/// The agent and the lab's network.
pub(super) struct Show {
    // First: it ends before the namespaces that it watches go.
    agent: Option<Agent>,
    stage: Stage,
    address: SocketAddr,
}

impl Show {
    pub(super) fn begin() -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut show = Self { agent: None, stage: Stage::build()?, address };
        show.start()?;
        Ok(show)
    }

    /// Answers the test until it ends; it must end well.
    pub(super) fn run(mut self, mut test: Command) -> Result<()> {
        let mut child = test
            .arg(format!("http://{}/", self.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start node")?;
        let (Some(mut answers), Some(asked)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipes to node");
        };
        for line in BufReader::new(asked).lines() {
            let answer = match self.answer(&line?) {
                Ok(answer) => format!("ok {answer}"),
                Err(error) => format!("error {error:#}"),
            };
            // A test that is gone is judged by its exit code.
            _ = writeln!(answers, "{}", answer.replace('\n', " "));
        }
        let status = child.wait()?;
        ensure!(status.success(), "the page failed in the browser ({status}): see its output above");
        self.stop()
    }

    fn answer(&mut self, line: &str) -> Result<String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("row", id) => match self.stage.play(id)? {
                Played::At(port) => Ok(port.to_string()),
                Played::Lacks(program) => Ok(format!("lacks {program}")),
            },
            ("abort", name) => Ok(self.stage.abort_as(name)?.to_string()),
            ("crowd", "") => Ok(self.stage.overflow()?.to_string()),
            ("stop", "") => self.stop().map(|()| String::new()),
            ("start", "") => self.start().map(|()| String::new()),
            _ => bail!("not known: {line:?}"),
        }
    }

    /// It watches the lab alone, so that what else goes on here disturbs no count.
    fn start(&mut self) -> Result<()> {
        let mut args: Vec<OsString> = vec!["--web.listen-address".into(), self.address.to_string().into()];
        args.extend(["--node-name".into(), "node-a".into()]);
        for path in self.stage.namespaces() {
            args.extend(["--netns".into(), path.into()]);
        }
        let mut agent = Agent::start(&args)?;
        ensure!(agent.wait_ready(&format!("http://{}", self.address))?, "ended by a signal");
        self.agent = Some(agent);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.agent.take().map_or(Ok(()), Agent::end)
    }
}
