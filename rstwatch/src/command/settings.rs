//! What a command is to do: arguments, configuration file and defaults resolved and checked.
//!
//! Everything after [`crate::command::cli`] sees only these.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::settings::CaptureSettings;
use crate::command::config::Config;
use crate::identity::kubernetes::settings as kubernetes;
use crate::present::filter::Filter;
use exporter_web::ListenAddress;

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

/// From the options of the command line and the configuration file.
pub fn capture_settings(netns: Vec<PathBuf>, cgroup: Option<PathBuf>, config: &Config) -> CaptureSettings {
    let Config { ring_buffer_bytes, detail_rate_per_second, detail_burst, .. } = *config;
    let timeouts = config.timeouts.clone();
    CaptureSettings {
        netns,
        cgroup,
        ring_buffer_bytes,
        detail_rate_per_second,
        detail_burst,
        timeouts,
        kubernetes: None,
    }
}

/// With what the configuration asks of the Kubernetes API, in this environment, on the node of this name.
///
/// # Errors
/// If it cannot be asked although the configuration says so, in one line.
pub fn with_kubernetes(settings: CaptureSettings, config: &Config, node: &str) -> anyhow::Result<CaptureSettings> {
    let table = &config.kubernetes;
    let kubernetes = match kubernetes::Settings::resolve(table, node, |name| std::env::var(name).ok()) {
        Err(error) if table.enabled == Some(true) => anyhow::bail!(error),
        Err(error) => {
            tracing::error!("kubernetes: {error}: no names from the API");
            None
        }
        Ok(settings) => settings,
    };
    Ok(CaptureSettings { kubernetes, ..settings })
}

/// The name of this host.
pub fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}
