//! How many connections the kernel side keeps a state for: as configured, but no more than the memory limit of the agent's cgroup
//! allows. The kernel charges the tables to that cgroup.

use std::path::Path;

use rstwatch_common::record::{ENDS_BYTES, SLOT_BYTES};
use rstwatch_common::settings::{MIN_CONNECTIONS, table_slots};

use super::mounts::Mounts;

/// Connections unless the configuration says otherwise.
pub const DEFAULT_CONNECTIONS: u32 = 1 << 16;
/// The most that can be configured.
pub const MAX_CONNECTIONS: u32 = 1 << 22;

/// The part of the memory limit that the tables may take.
const SHARE: u64 = 2;

/// The manifests pass the limit of the pod in this variable: a container sees neither its cgroup's name nor its limits once the
/// host's /sys/fs/cgroup is mounted.
const VARIABLE: &str = "RSTWATCH_MEMORY_LIMIT";

/// The size of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// The configured maximum.
    pub wanted: u32,
    /// Living connections that have a state each: a power of two.
    pub connections: u32,
    /// The memory limit that was found, in bytes.
    pub limit: Option<u64>,
}

impl Tables {
    /// The size for this process: at most `wanted`, a power of two.
    pub fn new(wanted: u32) -> Self {
        let proc = Path::new("/proc");
        let given = given();
        let limit = given.into_iter().chain(cgroup_limit(proc, &Mounts::read(proc))).min();
        Self { wanted, connections: within(wanted, limit), limit }
    }

    /// Logs it if the memory limit has lowered the size.
    pub fn announced(self) -> Self {
        if let Some(limit) = self.limit.filter(|_| self.connections < self.wanted) {
            let Self { wanted, connections, .. } = self;
            tracing::warn!(
                "evidence of {connections} connections at once, not {wanted} (connection_limit): the tables may take half of the memory limit, {} MiB: raise it for more",
                limit >> 20
            );
        }
        self
    }

    /// The kernel memory that they take.
    pub fn bytes(self) -> u64 {
        bytes(self.connections)
    }
}

/// The limit that the environment names.
fn given() -> Option<u64> {
    let text = std::env::var(VARIABLE).ok()?;
    let bytes = text.trim().parse().ok();
    if bytes.is_none() {
        tracing::warn!("{VARIABLE} is {text:?}, which is ignored: give a number of bytes");
    }
    bytes
}

fn bytes(connections: u32) -> u64 {
    // A slot also has a word in its bucket.
    let slots = u64::from(table_slots(connections)) * (SLOT_BYTES as u64 + 8);
    slots + u64::from(connections) * ENDS_BYTES as u64
}

/// The wanted size, or the largest size whose tables take at most half of the limit.
fn within(wanted: u32, limit: Option<u64>) -> u32 {
    let mut connections = wanted;
    while connections > MIN_CONNECTIONS && limit.is_some_and(|limit| bytes(connections) > limit / SHARE) {
        connections /= 2;
    }
    connections
}

/// The smallest memory limit of the cgroup that this process is in, and of those above it.
fn cgroup_limit(proc: &Path, mounts: &Mounts) -> Option<u64> {
    let memberships = std::fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let limits = memberships.lines().filter_map(|line| {
        // hierarchy:controllers:path (cgroups(7)).
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (mount, file) = match controllers {
            "" => (mounts.unified.as_deref()?, "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (mounts.memory.as_deref()?, "memory.limit_in_bytes")
            }
            _ => return None,
        };
        limit_along(mount, path.trim_start_matches('/'), file)
    });
    limits.min()
}

/// Without a limit version 1 shows the largest number of pages in bytes (mm/memcontrol.c, PAGE_COUNTER_MAX).
const NO_LIMIT: u64 = 1 << 62;

/// The smallest number in this file of a folder and its ancestors, up to the mount. "max" is no limit.
fn limit_along(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let folders = Path::new(path).ancestors().map(|folder| mount.join(folder).join(file));
    let limits = folders.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.filter(|limit| *limit < NO_LIMIT).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_take_half_of_the_limit_at_most() {
        assert_eq!(within(DEFAULT_CONNECTIONS, None), DEFAULT_CONNECTIONS);
        // The limit in the manifests.
        assert_eq!(within(DEFAULT_CONNECTIONS, Some(256 << 20)), DEFAULT_CONNECTIONS);
        assert_eq!(within(DEFAULT_CONNECTIONS, Some(64 << 20)), DEFAULT_CONNECTIONS / 2);
        assert_eq!(within(MAX_CONNECTIONS, Some(0)), MIN_CONNECTIONS);
        assert_eq!(within(MAX_CONNECTIONS, None), MAX_CONNECTIONS);
        for connections in [MIN_CONNECTIONS, DEFAULT_CONNECTIONS, MAX_CONNECTIONS] {
            assert!(connections.is_power_of_two() && table_slots(connections).is_multiple_of(8));
        }
    }

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_holds() -> anyhow::Result<()> {
        let root = tempfile::tempdir()?;
        let (proc, v2, v1) = (root.path().join("proc"), root.path().join("unified"), root.path().join("memory"));
        for folder in [&proc.join("self"), &v2.join("a.slice/b.service"), &v1.join("docker/x")] {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(v2.join("a.slice/memory.max"), "1000000\n")?;
        std::fs::write(v2.join("a.slice/b.service/memory.max"), "max\n")?;
        std::fs::write(v1.join("memory.limit_in_bytes"), "9223372036854771712\n")?;
        std::fs::write(v1.join("docker/x/memory.limit_in_bytes"), "2000000\n")?;
        let mounts = Mounts { unified: Some(v2), memory: Some(v1), ..Mounts::default() };

        std::fs::write(proc.join("self/cgroup"), "0::/a.slice/b.service\n")?;
        assert_eq!(cgroup_limit(&proc, &mounts), Some(1_000_000));
        std::fs::write(proc.join("self/cgroup"), "3:cpu,memory:/docker/x\n1:name=systemd:/y\n")?;
        assert_eq!(cgroup_limit(&proc, &mounts), Some(2_000_000));
        std::fs::write(proc.join("self/cgroup"), "garbage\n::\n0::/../..\n")?;
        assert_eq!(cgroup_limit(&proc, &mounts), None);
        Ok(())
    }
}
