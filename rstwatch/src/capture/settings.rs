//! What to capture and at which rate; the commands resolve and check these settings.

use std::path::PathBuf;

use rstwatch_verdict::known_timeouts::Timeout;

use crate::identity::kubernetes::settings as kubernetes;
use crate::sandbox::Needs;

/// What to capture and at which rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// Files of the network namespaces to capture, such as `/run/netns/x` or `/proc/1/ns/net`; empty: all namespaces.
    pub netns: Vec<PathBuf>,
    /// Directory of a cgroup (v2): captures only its sockets and those of its descendants.
    pub cgroup: Option<PathBuf>,
    /// Maximum living connections with evidence, a power of two.
    pub connection_limit: u32,
    /// Size of the ring buffer in bytes; a power of two.
    pub ring_buffer_bytes: u32,
    /// Details per second, per kind of reset and CPU.
    pub detail_rate_per_second: u32,
    /// Details that may exceed that rate at once.
    pub detail_burst: u32,
    /// Well-known timeouts that extend or replace the built-in ones.
    pub timeouts: Vec<Timeout>,
    /// How to watch the Kubernetes API; `None`: not at all.
    pub kubernetes: Option<kubernetes::Settings>,
}

impl CaptureSettings {
    /// Files and ports that must stay accessible after the lockdown.
    pub fn needs(&self) -> Needs {
        let source = self.kubernetes.as_ref().map(|kubernetes| &kubernetes.source);
        source.map(|source| source.needs(|name| std::env::var(name).ok())).unwrap_or_default()
    }
}
