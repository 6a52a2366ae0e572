//! A Prometheus of our own, which scrapes agents each second and forgets all at its end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use ureq::typestate::WithoutBody;

use crate::agent::tie;
use crate::paths;

const TICK: Duration = Duration::from_millis(50);
const STARTS: Duration = Duration::from_secs(30);
const ENDS: Duration = Duration::from_secs(10);
const ANSWERS: Duration = Duration::from_secs(10);

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    client: ureq::Agent,
    at: SocketAddr,
    room: TempDir,
}

/// An address of loopback that nobody uses.
pub fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Prometheus {
    /// Scrapes these, which are called as they would be in a fleet, and judges by the rules, if there are any.
    pub fn start(agents: &[(&str, SocketAddr)], rules: Option<&str>) -> Result<Self> {
        let room = tempfile::tempdir()?;
        let config = room.path().join("prometheus.yml");
        let file = room.path().join("rules.yml");
        if let Some(rules) = rules {
            fs::write(&file, rules)?;
        }
        fs::write(&config, configuration(agents, rules.map(|_| file.as_path())))?;
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
    pub fn ask(&self, query: &str, range: Option<(u64, u64)>) -> Result<Vec<Value>> {
        let path = if range.is_some() { "query_range" } else { "query" };
        let mut request = self.client.get(format!("http://{}/api/v1/{path}", self.at)).query("query", query);
        if let Some((from, to)) = range {
            let (from, to) = (from.to_string(), to.to_string());
            request = request.query("start", from).query("end", to).query("step", "2");
        }
        let mut answer = answered(request).context(query.to_owned())?;
        match answer["result"].take() {
            Value::Array(series) => Ok(series),
            other => bail!("{other} is no list of series: {query}"),
        }
    }

    /// The alerts that are pending or fire.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let mut answer = answered(self.client.get(format!("http://{}/api/v1/alerts", self.at)))?;
        match answer["alerts"].take() {
            Value::Array(alerts) => Ok(alerts),
            other => bail!("{other} is no list of alerts"),
        }
    }
}

/// The data of an answer. What is wrong with a request stands in the body of its refusal.
fn answered(request: ureq::RequestBuilder<WithoutBody>) -> Result<Value> {
    let mut answer = request.config().http_status_as_error(false).build().call()?;
    let mut answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
    ensure!(answer["status"] == "success", "{}", answer["error"]);
    Ok(answer["data"].take())
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

fn configuration(agents: &[(&str, SocketAddr)], rules: Option<&Path>) -> String {
    let mut config = "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n".to_owned();
    if let Some(rules) = rules {
        config += &format!("rule_files: ['{}']\n", rules.display());
    }
    config += "scrape_configs:\n  - job_name: rstwatch\n    honor_labels: true\n    static_configs:\n";
    for (name, address) in agents {
        config +=
            &format!("      - targets: ['{address}']\n        labels: {{ instance: '{name}', node: '{name}' }}\n");
    }
    config
}
