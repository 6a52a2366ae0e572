//! The command line: its arguments, and how they become [settings](crate::command::settings).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use exporter_web::{DEFAULT_MAX_REQUESTS, ListenAddress};
use ipnet::IpNet;
use jiff::SignedDuration;
use tracing::level_filters::LevelFilter;

use crate::capture::settings::CaptureSettings;
use crate::command::config::{self, Config};
use crate::command::settings::{
    AgentSettings, CheckSettings, ReportSettings, TimeoutsSettings, TraceSettings, capture_settings, host_name,
    with_kubernetes,
};
use crate::export::is_reserved;
use crate::present::filter::{Filter, network};
use rstwatch_verdict::cause::{Cause, Direction};

/// Says who sent each TCP reset on this host, why, and what to change.
#[derive(Debug, Parser)]
#[command(name = "rstwatch", version, arg_required_else_help = true)]
pub struct Cli {
    /// Log level, on stderr [default: info for agent, warn for other commands]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run as a daemon that serves metrics, events and a status page over HTTP
    #[command(after_long_help = config::HELP)]
    Agent(Box<AgentArgs>),
    /// Print each reset with its verdict as it happens
    Trace(Box<TraceArgs>),
    /// Watch for a while, then report causes, evidence and what to change first
    Report(Box<ReportArgs>),
    /// Watch for a while, then print the idle timeout of each destination
    Timeouts(Box<TimeoutsArgs>),
    /// Explain what a cause means, how to confirm it and what to change
    Explain {
        /// The cause to explain; without one, list all causes
        #[arg(value_parser = word::<Cause>(Cause::ALL, Cause::as_str), hide_possible_values = true)]
        cause: Option<Cause>,
    },
    /// Check whether the agent can run here, and which evidence it lacks
    Check(CheckArgs),
}

/// Log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

/// What to watch.
#[derive(Args, Debug)]
pub struct CaptureArgs {
    /// Watch only this network namespace, such as /run/netns/NAME or /proc/PID/ns/net; repeatable
    ///
    /// A later namespace at the same path is not watched; a warning says when the watched one is gone. Without CAP_SYS_ADMIN, or
    /// before Linux 5.14, the namespace is held open instead: it is not deleted before rstwatch ends.
    #[arg(long, value_name = "PATH")]
    netns: Vec<PathBuf>,
    /// Watch only sockets in this cgroup (v2) and its descendants
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Name of this host in events [default: the host name]
    #[arg(long, value_name = "NAME", value_parser = config::node_name)]
    node_name: Option<String>,
    /// Configuration file (TOML); rstwatch agent --help lists its keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl CaptureArgs {
    /// Reads and checks the configuration file, and combines it with the arguments.
    fn settings(self) -> anyhow::Result<(CaptureSettings, Arc<str>, Config)> {
        let Self { netns, cgroup, node_name, config } = self;
        let config = read_config(config.as_deref())?;
        let name = node_name.or_else(|| config.node_name.clone());
        let node = name.map_or_else(host_name, Arc::from);
        Ok((with_kubernetes(capture_settings(netns, cgroup, &config), &config, &node)?, node, config))
    }
}

/// Which events to include.
#[derive(Args, Debug)]
pub struct FilterArgs {
    /// Only resets with this cause (rstwatch explain lists all causes); repeatable
    #[arg(long, value_parser = word::<Cause>(Cause::ALL, Cause::as_str), hide_possible_values = true)]
    cause: Vec<Cause>,
    /// Only resets in this direction
    #[arg(long, value_parser = word::<Direction>(Direction::ALL, Direction::as_str))]
    direction: Option<Direction>,
    /// Only resets of connections to or from this remote address or network
    #[arg(long, value_name = "CIDR", value_parser = network)]
    peer: Option<IpNet>,
    /// Only resets of connections with this port at either end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

impl From<FilterArgs> for Filter {
    fn from(FilterArgs { cause: causes, direction, peer, port }: FilterArgs) -> Self {
        Self { causes, direction, peer, port }
    }
}

/// `rstwatch agent`
#[derive(Args, Debug)]
pub struct AgentArgs {
    #[command(flatten)]
    capture: CaptureArgs,
    /// Address to serve HTTP on; :9877 means every address of this host; repeatable
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = "127.0.0.1:9877")]
    listen: Vec<ListenAddress>,
    /// HTTP path of the metrics
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    telemetry_path: String,
    /// File with TLS, users and headers, in the format of the Prometheus exporter toolkit
    ///
    /// The agent re-reads it when it or a certificate changes, and on SIGHUP. If the new file is invalid, the previous one
    /// stays in use. /healthz and /readyz never require a password.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config: Option<PathBuf>,
    /// Maximum concurrent requests, besides 16 that follow events; 0 means no limit
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = DEFAULT_MAX_REQUESTS)]
    max_requests: usize,
}

impl AgentArgs {
    /// Combines the arguments with the configuration file.
    ///
    /// # Errors
    /// One line, if the configuration cannot be read or is invalid.
    pub fn settings(self) -> anyhow::Result<AgentSettings> {
        let Self { capture, listen, telemetry_path, web_config, max_requests } = self;
        let path = capture.config.clone();
        let (capture, node, config) = capture.settings()?;
        let Config { workload_limit, timeout_destinations, timeout_series, listener_series, .. } = config;
        Ok(AgentSettings {
            capture,
            node,
            listen,
            telemetry_path,
            web_config,
            max_requests,
            workload_limit,
            timeout_destinations,
            timeout_series,
            listener_series,
            config: path,
        })
    }
}

/// `rstwatch trace`
#[derive(Args, Debug)]
pub struct TraceArgs {
    #[command(flatten)]
    capture: CaptureArgs,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// Stop after this time, such as 60s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Stop after this number of resets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl TraceArgs {
    /// Combines the arguments with the configuration file.
    ///
    /// # Errors
    /// One line, if the configuration cannot be read or is invalid.
    pub fn settings(self) -> anyhow::Result<TraceSettings> {
        let Self { capture, json, duration, count, filter } = self;
        let (capture, node, _) = capture.settings()?;
        Ok(TraceSettings { capture, node, filter: filter.into(), json, duration, count })
    }
}

/// `rstwatch report`
#[derive(Args, Debug)]
pub struct ReportArgs {
    #[command(flatten)]
    capture: CaptureArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long to watch, such as 60s or 5m; Ctrl-C ends early and still reports
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    duration: Duration,
    #[command(flatten)]
    filter: FilterArgs,
}

impl ReportArgs {
    /// Combines the arguments with the configuration file.
    ///
    /// # Errors
    /// One line, if the configuration cannot be read or is invalid.
    pub fn settings(self) -> anyhow::Result<ReportSettings> {
        let Self { capture, json, duration, filter } = self;
        let (capture, node, config) = capture.settings()?;
        let destinations = config.timeout_destinations;
        Ok(ReportSettings { capture, node, filter: filter.into(), json, duration, destinations })
    }
}

/// `rstwatch timeouts`
#[derive(Args, Debug)]
pub struct TimeoutsArgs {
    #[command(flatten)]
    capture: CaptureArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long to watch, such as 60s or 1h: longer than the timeouts in question; Ctrl-C ends early
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    duration: Duration,
}

impl TimeoutsArgs {
    /// Combines the arguments with the configuration file.
    ///
    /// # Errors
    /// One line, if the configuration cannot be read or is invalid.
    pub fn settings(self) -> anyhow::Result<TimeoutsSettings> {
        let Self { capture, json, duration } = self;
        let (capture, node, config) = capture.settings()?;
        Ok(TimeoutsSettings { capture, node, json, duration, destinations: config.timeout_destinations })
    }
}

/// `rstwatch check`
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Configuration file (TOML) of the agent; rstwatch agent --help lists its keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl CheckArgs {
    /// Takes the settings that matter from the configuration file.
    ///
    /// # Errors
    /// One line, if the configuration cannot be read or is invalid.
    pub fn settings(self) -> anyhow::Result<CheckSettings> {
        let Config { connection_limit, ring_buffer_bytes, .. } = read_config(self.config.as_deref())?;
        Ok(CheckSettings { connection_limit, ring_buffer_bytes })
    }
}

fn read_config(path: Option<&Path>) -> anyhow::Result<Config> {
    Ok(path.map(Config::read).transpose()?.unwrap_or_default())
}

/// Parses a word of a fixed vocabulary.
fn word<T>(all: &'static [T], as_str: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + std::str::FromStr<Err = String> + 'static,
{
    PossibleValuesParser::new(all.iter().map(move |value| as_str(*value)))
        .try_map(|word| word.parse::<T>().map_err(std::io::Error::other))
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|duration| !duration.is_zero()).ok_or_else(|| "not a duration such as 60s or 5m".to_owned())
}

fn telemetry_path(path: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    if !path.starts_with('/') || !path.chars().all(is_plain) {
        return Err("not a path such as /metrics".to_owned());
    }
    if is_reserved(path) {
        return Err("reserved for another page: choose another path".to_owned());
    }
    Ok(path.to_owned())
}

/// Formats a usage error as one line: what is wrong, and where to find help.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let message = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let message = message.trim_start_matches("error: ").replace(":;", ":");
    format!("rstwatch: {message}: see rstwatch --help")
}

#[cfg(test)]
mod tests;
