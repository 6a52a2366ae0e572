//! What to watch, and how much of it: resolved and checked by the commands.

use std::path::PathBuf;

use rstwatch_verdict::known_timeouts::Timeout;

use crate::identity::kubernetes::settings as kubernetes;
use crate::sandbox::Needs;

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
    /// What has to stay within reach while it runs.
    pub fn needs(&self) -> Needs {
        let source = self.kubernetes.as_ref().map(|kubernetes| &kubernetes.source);
        source.map(|source| source.needs(|name| std::env::var(name).ok())).unwrap_or_default()
    }
}
