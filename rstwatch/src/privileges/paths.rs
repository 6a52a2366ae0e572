//! Files and ports that stay within reach, by Landlock (Linux 5.13): what is still read may be read, nothing may be written,
//! made or run.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, NetPort, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::Needs;
use crate::kernel::scope::cgroup2_mount;

/// The newest that was tried. The crate leaves out what this kernel lacks.
const NEWEST: ABI = ABI::V10;
/// The newest that leaves datagrams alone, by which names are asked for.
const WITH_UDP: ABI = ABI::V9;
/// The port of name servers.
const DOMAIN: u16 = 53;
/// `LANDLOCK_CREATE_RULESET_VERSION` (include/uapi/linux/landlock.h).
const VERSION: libc::c_uint = 1;

/// Read by every command while it runs: counters of the kernel, numbers of CPUs (for per-CPU maps), cgroups, time zones.
const READ: [&str; 5] = ["/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/etc/localtime", "/usr/share/zoneinfo"];
/// Read by the C library to find a host by its name; files there are replaced while we run.
const NAMES: [&str; 2] = ["/etc", "/run/systemd/resolve"];

/// What became of the access to files and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Restricted, by this version of the kernel's interface.
    Restricted {
        /// 1: files; 4: TCP ports too; 6: signals and abstract sockets too.
        abi: i32,
    },
    /// This kernel has no Landlock, or was booted without it.
    Absent,
    /// It could not be done.
    Refused(String),
}

/// Restricts this thread, and those that it starts.
pub(super) fn restrict(needs: &Needs) -> Paths {
    match ruleset(needs) {
        Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, .. }) => Paths::Absent,
        Ok(RestrictionStatus { landlock: LandlockStatus::Available { .. }, .. }) => {
            Paths::Restricted { abi: version().unwrap_or(0) }
        }
        Ok(_) => Paths::Absent,
        Err(error) => Paths::Refused(error.to_string()),
    }
}

fn ruleset(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    let (net, names) = if needs.connect.is_empty() { (NEWEST, None) } else { (WITH_UDP, Some(DOMAIN)) };
    let ports = needs.connect.iter().copied().chain(names);
    let ports = ports.map(|port| Ok(NetPort::new(port, AccessNet::ConnectTcp)));
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(net))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(readable(needs), AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(ports.collect::<Vec<Result<_, RulesetError>>>())?
        .restrict_self()
}

fn readable(needs: &Needs) -> Vec<PathBuf> {
    let mut all: Vec<_> = READ.into_iter().map(PathBuf::from).chain(cgroup2_mount()).collect();
    if !needs.connect.is_empty() {
        all.extend(NAMES.map(PathBuf::from));
        all.extend(folder_behind(Path::new("/etc/resolv.conf")));
    }
    all.extend(needs.read.iter().cloned());
    all
}

/// Where a file really is, if it is a link.
fn folder_behind(file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok()?.parent().map(Path::to_owned)
}

/// What has to be readable so that a file can be read again, whatever takes its place: its folder, and where a link leads.
pub fn of_file(file: &Path) -> Vec<PathBuf> {
    let given = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Some(PathBuf::from(".")),
        folder => folder.map(Path::to_owned),
    };
    given.into_iter().chain(folder_behind(file)).collect()
}

/// The version of the running kernel's Landlock; `None`: it has none.
pub fn version() -> Option<i32> {
    // SAFETY: with this flag the kernel takes no attribute, and answers a number.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION) };
    i32::try_from(answer).ok().filter(|version| *version > 0)
}

/// What a version restricts.
pub fn reach(version: i32) -> &'static str {
    match version {
        ..4 => "files are read-only and few",
        4..6 => "files are read-only and few, TCP ports are closed",
        _ => "files are read-only and few; TCP ports, signals and abstract sockets are closed",
    }
}

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restricted { abi } => write!(f, "{} (Landlock {abi})", reach(*abi)),
            Self::Absent => write!(f, "files are as before: no Landlock in this kernel"),
            Self::Refused(why) => write!(f, "files are as before: Landlock: {why}"),
        }
    }
}
