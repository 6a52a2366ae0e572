//! The configuration file (TOML): its keys, their defaults, and how it is read.

use std::path::Path;

use anyhow::{Context, bail};

use crate::capacity::series;
use crate::identity::kubernetes::settings as kubernetes;
use crate::kernel::memory;
use crate::stats::{aggregate, idle_timeouts};
use rstwatch_verdict::known_timeouts::Timeout;

mod file;

pub use file::node_name;

/// The checked values of a file; keys that it omits have their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of this host in events; `None`: its host name.
    pub node_name: Option<String>,
    /// Maximum workloads with series of their own.
    pub workload_limit: usize,
    /// Maximum living connections that the kernel side keeps evidence of.
    pub connection_limit: u32,
    /// Size of the kernel's ring buffer.
    pub ring_buffer_bytes: u32,
    /// Details per second for each kind of reset on each CPU.
    pub detail_rate_per_second: u32,
    /// Details that a burst may contain beyond that rate.
    pub detail_burst: u32,
    /// Maximum destinations with an inferred idle timeout.
    pub timeout_destinations: usize,
    /// How many of them are exported as metrics.
    pub timeout_series: usize,
    /// Maximum listeners with series of their own.
    pub listener_series: usize,
    /// Timeouts that are added to the known ones, or replace those of the same name.
    pub timeouts: Vec<Timeout>,
    /// Use of the Kubernetes API.
    pub kubernetes: kubernetes::Table,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: None,
            workload_limit: aggregate::DEFAULT_LIMIT,
            connection_limit: memory::DEFAULT_CONNECTIONS,
            // The kernel maps the ring twice, so it takes 4 MiB of the agent's resident set, which must stay below 24 MiB.
            ring_buffer_bytes: 2 << 20,
            detail_rate_per_second: 2_000,
            detail_burst: 2_000,
            timeout_destinations: idle_timeouts::DEFAULT_LIMIT,
            timeout_series: 64,
            listener_series: series::DEFAULT_LIMIT,
            timeouts: Vec::new(),
            kubernetes: kubernetes::Table::default(),
        }
    }
}

/// Every key, for `rstwatch agent --help`.
pub const HELP: &str = "\
Configuration file (TOML; all keys are optional; SIGHUP re-reads it and applies reloadable keys):
  node_name = \"...\"                name of this host in events; default: the host name
  workload_limit = 1000            workloads with series of their own, 1 to 100000; reloadable
  connection_limit = 65536         connections with full evidence, a power of two, 4096 to 4194304
  ring_buffer_bytes = 2097152      kernel buffer for details, a power of two, 65536 to 1073741824
  detail_rate_per_second = 2000    details per second, per kind of reset and CPU, 1 to 1000000
  detail_burst = 2000              details in a burst beyond that rate, 1 to 1000000
  timeout_destinations = 1024      destinations whose idle timeout is inferred, 1 to 100000
  timeout_series = 64              those in rstwatch_idle_timeout_seconds, 0 (none) to 10000
  listener_series = 1000           listeners with series of their own, 1 to 100000

Idle timeouts of your own network, added to the known timeouts; the same name replaces a known one:

[[timeout]]
who = \"internal load balancer\"     name of the candidate
seconds = 50                       idle timeout; 0 removes the known timeout of this name
place = \"end\"                      end (default: client, server, proxy) or device (forwards packets)
role = \"proxy\"                     client (ends what it opened), server (accepted), proxy; optional
comm = [\"haproxy\"]                 how the command names of its processes begin; optional
on_expiry = \"fin\"                  fin, rst or silent; optional

Names from the Kubernetes API (list and watch pods; with remote = true also services and nodes):

[kubernetes]
enabled = \"auto\"                   true, false, or auto: with KUBERNETES_SERVICE_HOST or kubeconfig
node_name = \"...\"                  name of this node; default: $NODE_NAME, else the host name
remote = false                     true: also name the pod, service or node at the remote address
remote_limit = 50000               maximum addresses with a name, 1 to 1000000
kubeconfig = \"/...\"                access from outside a pod; credential plugins are not run";

/// An invalid value, and the byte of the file where it is.
struct Fault {
    at: usize,
    what: String,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// One line that begins with the file's name and, if the contents are invalid, the line number.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        // A reload reads on the event loop, so only a small regular file is accepted.
        let bytes = exporter_web::files::read(path).with_context(|| format!("cannot read the configuration {name}"))?;
        let Ok(text) = String::from_utf8(bytes) else { bail!("{name}: not text in UTF-8") };
        match file::parse(&text) {
            Ok(config) => Ok(config),
            Err(Fault { at, what }) => bail!("{name}:{}: {what}", line_number(&text, at)),
        }
    }
}

/// The line, counted from 1, that contains a byte.
fn line_number(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests;
