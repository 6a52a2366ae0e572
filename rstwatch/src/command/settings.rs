//! Settings of each command, resolved and checked from arguments, configuration file and defaults.
//!
//! The commands see only these, never the arguments or the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::settings::CaptureSettings;
use crate::command::config::Config;
use crate::identity::kubernetes::settings as kubernetes;
use crate::present::filter::Filter;
use exporter_web::ListenAddress;

/// Settings of `rstwatch agent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Name of this host in events.
    pub node: Arc<str>,
    /// Addresses to serve on; at least one.
    pub listen: Vec<ListenAddress>,
    /// Path of the metrics.
    pub telemetry_path: String,
    /// File with TLS, users and headers.
    pub web_config: Option<PathBuf>,
    /// Maximum concurrent requests; 0: no limit.
    pub max_requests: usize,
    /// Maximum workloads with series of their own.
    pub workload_limit: usize,
    /// Maximum destinations with an inferred idle timeout.
    pub timeout_destinations: usize,
    /// How many of them are exported as metrics.
    pub timeout_series: usize,
    /// Maximum listeners with series of their own.
    pub listener_series: usize,
    /// The configuration file, re-read on SIGHUP.
    pub config: Option<PathBuf>,
}

/// Settings of `rstwatch trace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Name of this host in events.
    pub node: Arc<str>,
    /// Which events to print.
    pub filter: Filter,
    /// JSON lines instead of text.
    pub json: bool,
    /// Stops after this time.
    pub duration: Option<Duration>,
    /// Stops after this number of events.
    pub count: Option<u64>,
}

/// Settings of `rstwatch report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Name of this host in events.
    pub node: Arc<str>,
    /// Which events to report on.
    pub filter: Filter,
    /// One JSON object instead of text.
    pub json: bool,
    /// How long to watch.
    pub duration: Duration,
    /// Maximum destinations with an inferred idle timeout.
    pub destinations: usize,
}

/// Settings of `rstwatch timeouts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeoutsSettings {
    /// What to watch.
    pub capture: CaptureSettings,
    /// Name of this host in events.
    pub node: Arc<str>,
    /// One JSON object instead of text.
    pub json: bool,
    /// How long to watch.
    pub duration: Duration,
    /// Maximum destinations with an inferred idle timeout.
    pub destinations: usize,
}

/// Settings of `rstwatch check`: what decides how much kernel memory the agent takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// Maximum connections that are kept a state of.
    pub connection_limit: u32,
    /// Size of the ring buffer.
    pub ring_buffer_bytes: u32,
}

/// Combines the options of the command line with the configuration file.
pub fn capture_settings(netns: Vec<PathBuf>, cgroup: Option<PathBuf>, config: &Config) -> CaptureSettings {
    let Config { connection_limit, ring_buffer_bytes, detail_rate_per_second, detail_burst, .. } = *config;
    let timeouts = config.timeouts.clone();
    CaptureSettings {
        netns,
        cgroup,
        connection_limit,
        ring_buffer_bytes,
        detail_rate_per_second,
        detail_burst,
        timeouts,
        kubernetes: None,
    }
}

/// Adds the access to the Kubernetes API that the configuration and the environment give on the node of this name.
///
/// # Errors
/// One line, if the configuration requires the API and there is no access.
pub fn with_kubernetes(settings: CaptureSettings, config: &Config, node: &str) -> anyhow::Result<CaptureSettings> {
    let table = &config.kubernetes;
    let kubernetes = match kubernetes::Settings::resolve(table, node, |name| std::env::var(name).ok()) {
        Err(error) if table.enabled == Some(true) => anyhow::bail!(error),
        Err(error) => {
            tracing::error!("kubernetes: {error}: continuing without names from the API");
            None
        }
        Ok(settings) => settings,
    };
    Ok(CaptureSettings { kubernetes, ..settings })
}

/// The host name.
pub fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}
