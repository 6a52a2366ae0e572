//! The configuration file of the agent (TOML).

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, bail};
use exporter_web::files;
use serde::Deserialize;
use toml::Spanned;

use crate::capacity::series;
use crate::identity::kubernetes::settings as kubernetes;
use crate::stats::{aggregate, idle_timeouts};
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::known_timeouts::Timeout;
use rstwatch_verdict::known_timeouts::file::{Written, checked};

/// The values of a file, checked; what it leaves out has its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this host in events; none: its host name.
    pub node_name: Option<String>,
    /// Workloads with series of their own.
    pub workload_limit: usize,
    /// Size of the kernel's ring buffer.
    pub ring_buffer_bytes: u32,
    /// Details per second, for each kind of reset on each CPU.
    pub detail_rate_per_second: u32,
    /// How many details may run ahead of that rate.
    pub detail_burst: u32,
    /// Destinations whose idle timeouts are bracketed.
    pub timeout_destinations: usize,
    /// How many of them are in the metrics.
    pub timeout_series: usize,
    /// Listeners with series of their own.
    pub listener_series: usize,
    /// Well-known timeouts beside the shipped ones, or instead of them.
    pub timeouts: Vec<Timeout>,
    /// What is asked of the Kubernetes API.
    pub kubernetes: kubernetes::Table,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: None,
            workload_limit: aggregate::DEFAULT_LIMIT,
            // The kernel counts it twice in the resident set: of 24 MiB, the agent's promise, it takes 4.
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
Configuration file (TOML; every key may be left out; SIGHUP re-reads it):
  node_name = \"...\"                name of this host in events; default: its host name
  workload_limit = 1000            workloads with series of their own, 1 to 100000; applied on SIGHUP
  ring_buffer_bytes = 2097152      kernel buffer for details, a power of two, 65536 to 1073741824
  detail_rate_per_second = 2000    details per kind of reset and CPU, 1 to 1000000; counts stay exact beyond it
  detail_burst = 2000              details that may run ahead of that rate, 1 to 1000000
  timeout_destinations = 1024      destinations whose idle timeouts are bracketed, 1 to 100000
  timeout_series = 64              those of them that rstwatch_idle_timeout_seconds shows, 0 (none) to 10000
  listener_series = 1000           listeners with series of their own, 1 to 100000

Idle timeouts of your own hops: candidates beside those that rstwatch knows, or instead of those of the same name:

[[timeout]]
who = \"internal load balancer\"     shown as the candidate's name
seconds = 50                       0: who has no timeout here
place = \"end\"                      end (default: client, server, proxy) or device (forwards packets)
on_expiry = \"fin\"                  fin, rst or silent; may be left out

Names from the Kubernetes API (pods: list, watch; with remote = true services and nodes too):

[kubernetes]
enabled = \"auto\"                   true, false, or auto: where KUBERNETES_SERVICE_HOST is set or kubeconfig is given
node_name = \"...\"                  this node in the API; default: NODE_NAME of the environment, else this host's name
remote = false                     whether the other end gets the name of the pod, service or node with its address
remote_limit = 50000               addresses with a name, 1 to 1000000
kubeconfig = \"/...\"                how the API is reached, if not as a pod does; no programs are run for credentials";

const WORKLOADS: RangeInclusive<i64> = 1..=100_000;
const RING_BYTES: RangeInclusive<i64> = 65_536..=1 << 30;
const DETAILS: RangeInclusive<i64> = 1..=1_000_000;
const LISTENERS: RangeInclusive<i64> = 1..=100_000;
const DESTINATIONS: RangeInclusive<i64> = 1..=100_000;
const SERIES: RangeInclusive<i64> = 0..=10_000;
const NODE_NAME_BYTES: usize = 253;

/// The file as written. `i64` is TOML's integer: ranges are checked by us, with the line.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node_name: Option<Spanned<String>>,
    workload_limit: Option<Spanned<i64>>,
    ring_buffer_bytes: Option<Spanned<i64>>,
    detail_rate_per_second: Option<Spanned<i64>>,
    detail_burst: Option<Spanned<i64>>,
    timeout_destinations: Option<Spanned<i64>>,
    timeout_series: Option<Spanned<i64>>,
    listener_series: Option<Spanned<i64>>,
    #[serde(default)]
    timeout: Vec<Spanned<Written>>,
    kubernetes: Option<kubernetes::Written>,
}

/// What is wrong, and at which byte of the file.
struct Fault {
    at: usize,
    what: String,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// In one line that begins with the file's name and, if it can be told, the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        // On the event loop, when it is read again.
        let bytes = files::read(path).with_context(|| format!("cannot read the configuration {shown}"))?;
        let Ok(text) = String::from_utf8(bytes) else { bail!("{shown}: not text in UTF-8") };
        match Self::parse(&text) {
            Ok(config) => Ok(config),
            Err(Fault { at, what }) => bail!("{shown}:{}: {what}", line(&text, at)),
        }
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let file: File = toml::from_str(text).map_err(|error| Fault {
            at: error.span().map_or(0, |span| span.start),
            what: printable(&error.message().replace('\n', ": ")).into_owned(),
        })?;
        let default = Self::default();
        let (rate, burst) = (default.detail_rate_per_second, default.detail_burst);
        let (destinations, series) = (default.timeout_destinations, default.timeout_series);
        let listeners = default.listener_series;
        Ok(Self {
            node_name: file.node_name.map(checked_name).transpose()?,
            workload_limit: number("workload_limit", file.workload_limit, WORKLOADS, default.workload_limit)?,
            ring_buffer_bytes: power_of_two("ring_buffer_bytes", file.ring_buffer_bytes, default.ring_buffer_bytes)?,
            detail_rate_per_second: number("detail_rate_per_second", file.detail_rate_per_second, DETAILS, rate)?,
            detail_burst: number("detail_burst", file.detail_burst, DETAILS, burst)?,
            timeout_destinations: number(
                "timeout_destinations",
                file.timeout_destinations,
                DESTINATIONS,
                destinations,
            )?,
            timeout_series: number("timeout_series", file.timeout_series, SERIES, series)?,
            listener_series: number("listener_series", file.listener_series, LISTENERS, listeners)?,
            timeouts: checked(file.timeout).map_err(|(at, what)| Fault { at, what })?,
            kubernetes: kubernetes::checked(file.kubernetes).map_err(|(at, what)| Fault { at, what })?,
        })
    }
}

/// The line (from 1) of a byte.
fn line(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

fn checked_name(name: Spanned<String>) -> Result<String, Fault> {
    let at = name.span().start;
    node_name(&name.into_inner()).map_err(|error| Fault { at, what: format!("node_name is {error}") })
}

/// Checks a node's name.
///
/// # Errors
/// In words that say what it is instead.
pub fn node_name(name: &str) -> Result<String, String> {
    match name {
        "" => Err("empty: give a name, or leave it out for the host name".to_owned()),
        _ if name.len() > NODE_NAME_BYTES => Err(format!("longer than {NODE_NAME_BYTES} bytes")),
        _ if *printable(name) != *name => Err("not printable".to_owned()),
        _ => Ok(name.to_owned()),
    }
}

fn number<T: TryFrom<i64>>(
    key: &str,
    value: Option<Spanned<i64>>,
    range: RangeInclusive<i64>,
    default: T,
) -> Result<T, Fault> {
    let Some(value) = value else { return Ok(default) };
    let (at, value) = (value.span().start, value.into_inner());
    let fitting = range.contains(&value).then(|| T::try_from(value).ok()).flatten();
    fitting.ok_or_else(|| Fault { at, what: format!("{key} is {value}: give {} to {}", range.start(), range.end()) })
}

fn power_of_two(key: &str, value: Option<Spanned<i64>>, default: u32) -> Result<u32, Fault> {
    let at = value.as_ref().map_or(0, |value| value.span().start);
    let bytes = number(key, value, RING_BYTES, default)?;
    if bytes.is_power_of_two() {
        return Ok(bytes);
    }
    Err(Fault { at, what: format!("{key} is {bytes}: give a power of two, such as {}", bytes.next_power_of_two()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, (usize, String)> {
        Config::parse(text).map_err(|Fault { at, what }| (line(text, at), what))
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(parse(""), Ok(Config::default()));
        let config = parse("node_name = \"node-b\"\nworkload_limit = 5\n# comment\nring_buffer_bytes = 65536\n");
        let expected = Config {
            node_name: Some("node-b".into()),
            workload_limit: 5,
            ring_buffer_bytes: 65_536,
            ..Config::default()
        };
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let cases = [
            ("workload_limit = 0", 1, "workload_limit is 0: give 1 to 100000"),
            ("\n\nworkload_limit = 100001", 3, "workload_limit is 100001: give 1 to 100000"),
            ("detail_burst = -1", 1, "detail_burst is -1: give 1 to 1000000"),
            ("detail_rate_per_second = 0", 1, "detail_rate_per_second is 0: give 1 to 1000000"),
            ("ring_buffer_bytes = 70000", 1, "ring_buffer_bytes is 70000: give a power of two, such as 131072"),
            ("ring_buffer_bytes = 2147483648", 1, "ring_buffer_bytes is 2147483648: give 65536 to 1073741824"),
            ("\nnode_name = \"\"", 2, "node_name is empty: give a name, or leave it out for the host name"),
            ("node_name = \"a\\u001b[31m\"", 1, "node_name is not printable"),
            ("node_name = 7", 1, "invalid type: integer `7`, expected a string"),
            ("\nworkload_limits = 7", 2, "unknown field `workload_limits`, expected one of"),
            ("workload_limit 7", 1, ""),
            ("\n[[timeout]]\nwho = \"a\"\nseconds = -1", 2, "timeout \"a\": seconds is -1: give 0 to 31536000"),
            (
                "[[timeout]]\nwho = \"a\\u001b\"\nseconds = 1",
                1,
                "timeout \"a\\u{1b}\": who must have 1 to 80 printable bytes",
            ),
            (
                "[[timeout]]\nwho = \"a\"\nseconds = 1\n[[timeout]]\nwho = \"b\"\nseconds = 1\nplace = \"x\"",
                4,
                "timeout \"b\": place is \"x\": give end or device",
            ),
            ("[[timeout]]\nwho = \"a\"", 1, "missing field `seconds`"),
            ("[[timeout]]\nwho = \"a\"\nseconds = 1\nwhen = 3", 4, "unknown field `when`"),
            ("workload_limit = 7\nworkload_limit = 8", 2, "duplicate key"),
            ("[kubernetes]\nenable = true", 2, "unknown field `enable`"),
            ("[kubernetes]\nenabled = 1", 2, "kubernetes.enabled must be true, false or \"auto\""),
            (
                "[kubernetes]\n\nnode_name = \"a,b\"",
                3,
                "kubernetes.node_name is not a valid node name: give 1 to 253 of",
            ),
            ("[kubernetes]\nremote_limit = 0", 2, "kubernetes.remote_limit is 0: give 1 to 1000000"),
            ("[kubernetes]\nremote = \"yes\"", 2, "invalid type: string \"yes\", expected a boolean"),
            ("[kubernetes]\nkubeconfig = \"k\"", 2, "kubernetes.kubeconfig is not an absolute path"),
        ];
        for (text, line, what) in cases {
            let (found_line, found) = parse(text).expect_err("refused");
            assert_eq!(found_line, line, "{text}: {found}");
            assert!(found.starts_with(what) && found.lines().count() == 1, "{text}: {found}");
        }
    }

    #[test]
    fn what_is_no_small_file_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, rustix::fs::Mode::RUSR, 0).expect("made");
        std::fs::write(path("large"), vec![b'#'; 2 << 20]).expect("written");
        std::fs::write(path("bytes"), [0xff]).expect("written");
        for (name, said) in
            [("fifo", "not a regular file"), ("large", "larger than 1048576 bytes"), ("bytes", "not text in UTF-8")]
        {
            let error = format!("{:#}", Config::read(&path(name)).expect_err("refused"));
            assert!(error.ends_with(said), "{error}");
        }
    }

    #[test]
    fn the_help_lists_every_key_with_its_default() {
        let keys: String = HELP
            .lines()
            .filter(|line| line.starts_with("  ") && !line.contains("\"...\""))
            .map(|line| {
                let (key, rest) = line.trim().split_once(" = ").expect("key");
                format!("{key} = {}\n", rest.split(' ').next().expect("value"))
            })
            .collect();
        assert_eq!(keys.lines().count(), 7);
        assert_eq!(parse(&keys), Ok(Config::default()));
    }

    #[test]
    fn the_packages_file_shows_the_defaults() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debian/config.toml");
        let file = std::fs::read_to_string(file).expect("the package's configuration");
        assert_eq!(parse(&file), Ok(Config::default()), "nothing is set");
        // Below the first table are examples.
        let top = file.lines().take_while(|line| !line.starts_with("#["));
        let shown =
            top.filter_map(|line| line.strip_prefix('#')).filter(|line| !line.starts_with(' ') && !line.is_empty());
        let shown: Vec<_> = shown.filter(|line| !line.contains("\"...\"")).collect();
        assert_eq!(shown.len(), 7, "{shown:?}");
        assert_eq!(parse(&shown.join("\n")), Ok(Config::default()));
    }
}
