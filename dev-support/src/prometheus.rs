//! A throw-away Prometheus server that scrapes agents every second.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use ureq::typestate::WithoutBody;

use crate::port::ReservedPort;
use crate::{command, paths};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A running Prometheus server. Dropping it stops the server and deletes its data.
pub struct Prometheus {
    child: Child,
    client: ureq::Agent,
    port: ReservedPort,
    folder: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes these agents, each with its name as `instance` and `node`, and evaluates the rules.
    pub fn start(agents: &[(&str, SocketAddr)], rules: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let file = folder.path().join("rules.yml");
        if let Some(rules) = rules {
            fs::write(&file, rules)?;
        }
        fs::write(&config, configuration(agents, rules.map(|_| file.as_path())))?;
        let port = ReservedPort::new()?;
        let program = paths::program("prometheus").context("prometheus is not installed: install it")?;
        let mut server = Command::new(program);
        server.arg(format!("--config.file={}", config.display()));
        server.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        server.arg(format!("--web.listen-address={}", port.address()));
        let log = File::create(folder.path().join("log"))?;
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command::die_with_parent(&mut server);
        let client =
            ureq::Agent::config_builder().proxy(None).timeout_global(Some(RESPONSE_TIMEOUT)).build().new_agent();
        let child = server.spawn().context("cannot start prometheus")?;
        let mut prometheus = Self { child, client, port, folder };
        prometheus.wait_ready()?;
        Ok(prometheus)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while self.client.get(format!("http://{}/-/ready", self.port.address())).call().is_err() {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("prometheus ended ({status}): {}", log.lines().last().unwrap_or("no message"));
            }
            ensure!(started.elapsed() < START_TIMEOUT, "prometheus was not ready within {} s", START_TIMEOUT.as_secs());
            sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// The series that a query returns: now, or over a range of seconds since the epoch.
    pub fn ask(&self, query: &str, range: Option<(u64, u64)>) -> Result<Vec<Value>> {
        let path = if range.is_some() { "query_range" } else { "query" };
        let mut request =
            self.client.get(format!("http://{}/api/v1/{path}", self.port.address())).query("query", query);
        if let Some((from, to)) = range {
            let (from, to) = (from.to_string(), to.to_string());
            request = request.query("start", from).query("end", to).query("step", "2");
        }
        let mut answer = answered(request).context(query.to_owned())?;
        match answer["result"].take() {
            Value::Array(series) => Ok(series),
            other => bail!("{query}: expected a list of series, got {other}"),
        }
    }

    /// The alerts that are pending or firing.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let mut answer = answered(self.client.get(format!("http://{}/api/v1/alerts", self.port.address())))?;
        match answer["alerts"].take() {
            Value::Array(alerts) => Ok(alerts),
            other => bail!("expected a list of alerts, got {other}"),
        }
    }
}

/// The data of a response. When Prometheus refuses a request, the body says why.
fn answered(request: ureq::RequestBuilder<WithoutBody>) -> Result<Value> {
    let mut answer = request.config().http_status_as_error(false).build().call()?;
    let mut answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
    ensure!(answer["status"] == "success", "{}", answer["error"]);
    Ok(answer["data"].take())
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Fails only if the server has already ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let requested = Instant::now();
        while requested.elapsed() < STOP_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(POLL_INTERVAL);
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
