//! A Prometheus of our own, which scrapes agents each second and forgets all at its end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::tie;
use crate::paths;

const TICK: Duration = Duration::from_millis(50);
const STARTS: Duration = Duration::from_secs(30);
const ENDS: Duration = Duration::from_secs(10);
const ANSWERS: Duration = Duration::from_secs(10);

/// A running Prometheus.
pub(super) struct Prometheus {
    child: Child,
    client: ureq::Agent,
    at: SocketAddr,
    room: TempDir,
}

/// An address of loopback that nobody uses.
pub(super) fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Prometheus {
    /// Scrapes these, which are called as they would be in a fleet.
    pub(super) fn start(agents: &[(&str, SocketAddr)]) -> Result<Self> {
        let room = tempfile::tempdir()?;
        let config = room.path().join("prometheus.yml");
        fs::write(&config, configuration(agents))?;
        let at = free()?;
        let mut command = Command::new(paths::program("prometheus").context("no prometheus: install it")?);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", room.path().join("data").display()));
        command.arg(format!("--web.listen-address={at}"));
        let log = File::create(room.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        tie(&mut command);
        let client = ureq::Agent::config_builder().proxy(None).timeout_global(Some(ANSWERS)).build().new_agent();
        let child = command.spawn().context("cannot start prometheus")?;
        let mut prometheus = Self { child, client, at, room };
        prometheus.wait_ready()?;
        Ok(prometheus)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while self.client.get(format!("http://{}/-/ready", self.at)).call().is_err() {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.room.path().join("log")).unwrap_or_default();
                bail!("prometheus ended ({status}): {}", log.lines().last().unwrap_or("without a word"));
            }
            ensure!(started.elapsed() < STARTS, "prometheus was not ready within {} s", STARTS.as_secs());
            sleep(TICK);
        }
        Ok(())
    }

    /// The series of a query: now, or at each step of a range of seconds since the epoch.
    pub(super) fn ask(&self, query: &str, range: Option<(u64, u64)>) -> Result<Vec<Value>> {
        let path = if range.is_some() { "query_range" } else { "query" };
        let mut request = self.client.get(format!("http://{}/api/v1/{path}", self.at)).query("query", query);
        if let Some((from, to)) = range {
            let (from, to) = (from.to_string(), to.to_string());
            request = request.query("start", from).query("end", to).query("step", "2");
        }
        // What is wrong with a query stands in the body of the refusal.
        let mut answer = request.config().http_status_as_error(false).build().call()?;
        let mut answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        ensure!(answer["status"] == "success", "{}: {query}", answer["error"]);
        match answer["data"]["result"].take() {
            Value::Array(series) => Ok(series),
            other => bail!("{other} is no list of series: {query}"),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < ENDS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(TICK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(agents: &[(&str, SocketAddr)]) -> String {
    let mut config = "global: { scrape_interval: 1s, scrape_timeout: 1s }\n\
        scrape_configs:\n  - job_name: rstwatch\n    static_configs:\n"
        .to_owned();
    for (name, address) in agents {
        config +=
            &format!("      - targets: ['{address}']\n        labels: {{ instance: '{name}', node: '{name}' }}\n");
    }
    config
}
