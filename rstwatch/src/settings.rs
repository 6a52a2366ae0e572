//! What a command is to do: arguments, configuration file and defaults resolved and checked.
//!
//! Everything after [`crate::cli`] sees only these.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::export::listen::ListenAddress;
use crate::filter::Filter;
use crate::kubernetes::settings as kubernetes;
use crate::sandbox::Needs;
use crate::timeouts::Timeout;

/// What to watch, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// Files that name network namespaces, as `/run/netns/x` or `/proc/1/ns/net`; empty: all.
    pub netns: Vec<PathBuf>,
    /// Folder of a cgroup (v2): only its sockets and those below it.
    pub cgroup: Option<PathBuf>,
    /// Size of the ring buffer; a power of two.
    pub ring_buffer_bytes: u32,
    /// Details per second, for each kind of reset on each CPU.
    pub detail_rate_per_second: u32,
    /// How many details may run ahead of that rate.
    pub detail_burst: u32,
    /// Well-known timeouts beside the shipped ones, or instead of them.
    pub timeouts: Vec<Timeout>,
    /// What is asked of the Kubernetes API; none: nothing.
    pub kubernetes: Option<kubernetes::Settings>,
}

impl CaptureSettings {
    /// From the options of the command line and the configuration file.
    pub fn new(netns: Vec<PathBuf>, cgroup: Option<PathBuf>, config: &Config) -> Self {
        let Config { ring_buffer_bytes, detail_rate_per_second, detail_burst, .. } = *config;
        let timeouts = config.timeouts.clone();
        Self { netns, cgroup, ring_buffer_bytes, detail_rate_per_second, detail_burst, timeouts, kubernetes: None }
    }

    /// With what the configuration asks of the Kubernetes API, in this environment, on the node of this name.
    ///
    /// # Errors
    /// If it cannot be asked although the configuration says so, in one line.
    pub fn with_kubernetes(self, config: &Config, node: &str) -> anyhow::Result<Self> {
        let table = &config.kubernetes;
        let kubernetes = match kubernetes::Settings::resolve(table, node, |name| std::env::var(name).ok()) {
            Err(error) if table.enabled == Some(true) => anyhow::bail!(error),
            Err(error) => {
                tracing::error!("kubernetes: {error}: no names from the API");
                None
            }
            Ok(settings) => settings,
        };
        Ok(Self { kubernetes, ..self })
    }

    /// What has to stay within reach while it runs.
    pub fn needs(&self) -> Needs {
        let source = self.kubernetes.as_ref().map(|kubernetes| &kubernetes.source);
        source.map(|source| source.needs(|name| std::env::var(name).ok())).unwrap_or_default()
    }
}

/// What `rstwatch agent` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Host name, or what the user calls it.
    pub node: Arc<str>,
    /// Where to serve; at least one.
    pub listen: Vec<ListenAddress>,
    /// Path of the metrics.
    pub telemetry_path: String,
    /// File with TLS, users and headers.
    pub web_config: Option<PathBuf>,
    /// Requests answered at once; 0: as many as come.
    pub max_requests: usize,
    /// Workloads with series of their own.
    pub workload_limit: usize,
    /// Destinations whose idle timeouts are bracketed.
    pub timeout_destinations: usize,
    /// How many of them are in the metrics.
    pub timeout_series: usize,
    /// Listeners with series of their own.
    pub listener_series: usize,
    /// The configuration file, to be read again on SIGHUP.
    pub config: Option<PathBuf>,
}

/// What `rstwatch trace` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Host name, or what the user calls it.
    pub node: Arc<str>,
    /// What to show.
    pub filter: Filter,
    /// JSON lines instead of text.
    pub json: bool,
    /// Ends after this time.
    pub duration: Option<Duration>,
    /// Ends after so many events.
    pub count: Option<u64>,
}

/// What `rstwatch report` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Host name, or what the user calls it.
    pub node: Arc<str>,
    /// What to report on.
    pub filter: Filter,
    /// One JSON object instead of text.
    pub json: bool,
    /// For how long.
    pub duration: Duration,
    /// Destinations whose idle timeouts are bracketed.
    pub destinations: usize,
}

/// What `rstwatch timeouts` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeoutsSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Host name, or what the user calls it.
    pub node: Arc<str>,
    /// One JSON object instead of text.
    pub json: bool,
    /// For how long.
    pub duration: Duration,
    /// Destinations that are bracketed.
    pub destinations: usize,
}

/// The name of this host.
pub fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}
