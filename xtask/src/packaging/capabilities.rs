//! The capabilities that the packaging grants. Manifests and unit are checked against this list, and the image test runs the
//! agent with exactly these capabilities and compares them with what `rstwatch check` asks for.

/// Granted everywhere.
pub(crate) const BASE: [&str; 2] = ["BPF", "PERFMON"];
/// Additionally granted where the kernel refuses fentry on `tcp_reset`: attaching the cgroup program requires it.
pub(crate) const WITHOUT_FENTRY: &str = "NET_ADMIN";
