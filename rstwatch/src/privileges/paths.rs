//! Files and ports that stay within reach, by Landlock (Linux 5.13): what is still read may be read, nothing may be written,
//! made or run.

use std::collections::BTreeSet;
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
        /// TCP ports that stay open.
        open: BTreeSet<u16>,
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
            Paths::Restricted { abi: version().unwrap_or(0), open: ports(needs) }
        }
        Ok(_) => Paths::Absent,
        Err(error) => Paths::Refused(error.to_string()),
    }
}

fn ruleset(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    let net = if needs.names { WITH_UDP } else { NEWEST };
    let ports = ports(needs).into_iter().map(|port| Ok(NetPort::new(port, AccessNet::ConnectTcp)));
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(net))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(readable(needs), AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(ports.collect::<Vec<Result<_, RulesetError>>>())?
        .restrict_self()
}

/// TCP ports that stay open.
fn ports(needs: &Needs) -> BTreeSet<u16> {
    needs.connect.iter().copied().chain(needs.names.then_some(DOMAIN)).collect()
}

fn readable(needs: &Needs) -> Vec<PathBuf> {
    let mut all: Vec<_> = READ.into_iter().map(PathBuf::from).chain(cgroup2_mount()).collect();
    if needs.names {
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

/// What has to be readable so that a file can be read again, whatever takes its place: its folder, and those of all links on
/// the way to it, be they files or folders.
pub fn of_file(file: &Path) -> Vec<PathBuf> {
    /// As many as the kernel follows.
    const LINKS: usize = 40;
    let (mut folders, mut followed, mut ahead) = (Vec::new(), BTreeSet::new(), vec![file.to_owned()]);
    while let Some(path) = ahead.pop()
        && followed.len() <= LINKS
    {
        if !followed.insert(path.clone()) {
            continue;
        }
        ahead.extend(path.ancestors().skip(1).filter(|folder| folder.is_symlink()).map(Path::to_owned));
        let Ok(folder) = folder_of(&path).canonicalize() else { continue };
        let target = path.file_name().and_then(|name| folder.join(name).read_link().ok());
        ahead.extend(target.map(|target| folder.join(target)));
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The version of the running kernel's Landlock; `None`: it has none.
pub fn version() -> Option<i32> {
    // SAFETY: with this flag the kernel takes no attribute, and answers a number.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION) };
    i32::try_from(answer).ok().filter(|version| *version > 0)
}

/// What a version restricts; `but`: which ports it leaves open.
pub fn reach(version: i32, but: &str) -> String {
    match version {
        ..4 => "files are read-only and few".to_owned(),
        4..6 => format!("files are read-only and few, TCP ports{but} are closed"),
        _ => format!("files are read-only and few; TCP ports{but}, signals and abstract sockets are closed"),
    }
}

/// All but these.
fn but(open: &BTreeSet<u16>) -> String {
    let open: Vec<_> = open.iter().map(u16::to_string).collect();
    if open.is_empty() { String::new() } else { format!(" (but to connect to {} of any host)", open.join(", ")) }
}

/// What to say if the folder of everything had to be left readable.
pub(super) fn widest(needs: &Needs) -> Option<String> {
    let is_all = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == Path::new("/"));
    needs.read.iter().any(is_all).then(|| {
        "a configured file, or a link on the way to it, is in /: so every file stays within reach: put it into a folder of its own"
            .to_owned()
    })
}

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restricted { abi, open } => write!(f, "{} (Landlock {abi})", reach(*abi, &but(open))),
            Self::Absent => write!(f, "files are as before: no Landlock in this kernel"),
            Self::Refused(why) => write!(f, "files are as before: Landlock: {why}"),
        }
    }
}
