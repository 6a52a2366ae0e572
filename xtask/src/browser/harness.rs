//! Serves the browser test: makes resets in the lab, and stops and starts the agent.
//!
//! The test writes one request per line to its stdout and reads one response per line: `ok …` or `error …`.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::agent::Agent;
use dev_support::port::ReservedPort;
use lab::{Made, Scenarios};

/// The agent and the lab's network.
pub(super) struct Harness {
    // First, so that the agent exits before its namespaces are removed.
    agent: Option<Agent>,
    scenarios: Scenarios,
    port: ReservedPort,
}

impl Harness {
    pub(super) fn start() -> Result<Self> {
        let mut harness = Self { agent: None, scenarios: Scenarios::build()?, port: ReservedPort::new()? };
        harness.start_agent()?;
        Ok(harness)
    }

    /// Runs the test and answers its requests. The test must succeed.
    pub(super) fn run(mut self, mut test: Command) -> Result<()> {
        let mut child = test
            .arg(format!("http://{}/", self.port.address()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start node")?;
        let (Some(mut responses), Some(requests)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipes to node");
        };
        for line in BufReader::new(requests).lines() {
            let response = match self.respond(&line?) {
                Ok(response) => format!("ok {response}"),
                Err(error) => format!("error {error:#}"),
            };
            // If the test has exited, its exit code counts.
            _ = writeln!(responses, "{}", response.replace('\n', " "));
        }
        let status = child.wait()?;
        ensure!(status.success(), "the browser test failed ({status}): see its output above");
        self.stop_agent()
    }

    fn respond(&mut self, line: &str) -> Result<String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("row", id) => match self.scenarios.make(id)? {
                Made::AtPort(port) => Ok(port.to_string()),
                Made::Missing(program) => Ok(format!("lacks {program}")),
            },
            ("abort", name) => Ok(self.scenarios.abort_as(name)?.to_string()),
            ("overflow", "") => Ok(self.scenarios.overflow()?.to_string()),
            ("stop", "") => self.stop_agent().map(|()| String::new()),
            ("start", "") => self.start_agent().map(|()| String::new()),
            _ => bail!("unknown request {line:?}"),
        }
    }

    /// Starts an agent that watches only the lab, so that other resets on this machine do not affect its counts.
    fn start_agent(&mut self) -> Result<()> {
        let mut args: Vec<OsString> = vec!["--web.listen-address".into(), self.port.address().to_string().into()];
        args.extend(["--node-name".into(), "node-a".into()]);
        for path in self.scenarios.namespaces() {
            args.extend(["--netns".into(), path.into()]);
        }
        let mut agent = Agent::start(&args)?;
        ensure!(agent.wait_ready(&format!("http://{}", self.port.address()))?, "ended by a signal");
        self.agent = Some(agent);
        Ok(())
    }

    fn stop_agent(&mut self) -> Result<()> {
        self.agent.take().map_or(Ok(()), Agent::end)
    }
}
