//! The one list of the capabilities that packaging grants. The manifests and the unit are compared with it here, and the
//! image's test runs the agent with exactly these, and asks `rstwatch check` which it wants.

/// Everywhere.
pub(crate) const ALWAYS: [&str; 2] = ["BPF", "PERFMON"];
/// Where the kernel refuses fentry on `tcp_reset`: the cgroup program's.
pub(crate) const WITHOUT_FENTRY: &str = "NET_ADMIN";
