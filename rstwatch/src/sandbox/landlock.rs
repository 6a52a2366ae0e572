//! Restricts files and ports by Landlock (Linux 5.13): files that are still needed can be read; nothing can be written,
//! created or executed.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, NetPort, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::Needs;
use crate::kernel::scope::cgroup2_mount;

/// The newest version that is tested. The crate leaves out what this kernel lacks.
const NEWEST: ABI = ABI::V10;
/// The newest version without rules on datagrams, which name resolution uses.
const WITH_UDP: ABI = ABI::V9;
/// The port of name servers.
const DOMAIN: u16 = 53;
/// `LANDLOCK_CREATE_RULESET_VERSION` (include/uapi/linux/landlock.h).
const VERSION: libc::c_uint = 1;

/// Every running command reads these: counters of the kernel, the number of CPUs (for per-CPU maps), cgroups, time zones.
const READ: [&str; 5] = ["/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/etc/localtime", "/usr/share/zoneinfo"];
/// The C library reads these to resolve host names. Files there are replaced while the agent runs.
const RESOLVER: [&str; 2] = ["/etc", "/run/systemd/resolve"];

/// How access to files and ports was restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// By this version of the kernel's interface.
    Restricted {
        /// 1: files; 4: TCP ports too; 6: signals and abstract sockets too.
        abi: i32,
        /// TCP ports that stay open.
        open: BTreeSet<u16>,
    },
    /// This kernel has no Landlock, or was booted without it.
    Absent,
    /// The kernel refused.
    Refused(String),
}

/// Restricts this thread and those that it starts.
pub(super) fn restrict(needs: &Needs) -> Restriction {
    match ruleset(needs) {
        Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, .. }) => Restriction::Absent,
        Ok(RestrictionStatus { landlock: LandlockStatus::Available { .. }, .. }) => {
            Restriction::Restricted { abi: version().unwrap_or(0), open: ports(needs) }
        }
        Ok(_) => Restriction::Absent,
        Err(error) => Restriction::Refused(error.to_string()),
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
        all.extend(RESOLVER.map(PathBuf::from));
        all.extend(folder_behind(Path::new("/etc/resolv.conf")));
    }
    all.extend(needs.read.iter().cloned());
    all
}

/// The folder of the file behind a link.
fn folder_behind(file: &Path) -> Option<PathBuf> {
    file.canonicalize().ok()?.parent().map(Path::to_owned)
}

/// The folders that have to be readable so that a file can be read again after it was replaced: its own, and those of all
/// links on its path, to files or folders.
pub fn folders_of(file: &Path) -> Vec<PathBuf> {
    /// As many links as the kernel follows.
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

/// The version of the running kernel's Landlock; `None` if it has none.
pub fn version() -> Option<i32> {
    // SAFETY: with this flag the kernel reads no attribute and returns a number.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0usize, VERSION) };
    i32::try_from(answer).ok().filter(|version| *version > 0)
}

/// What a version restricts. `except`: the ports that stay open.
pub fn description(version: i32, except: &str) -> String {
    match version {
        ..4 => "only a few files can be read, and none written".to_owned(),
        4..6 => format!("only a few files can be read, and none written; TCP ports{except} are closed"),
        _ => format!(
            "only a few files can be read, and none written; TCP ports{except}, signals and abstract sockets are closed"
        ),
    }
}

/// The ports that stay open, in words.
fn except(open: &BTreeSet<u16>) -> String {
    let open: Vec<_> = open.iter().map(u16::to_string).collect();
    if open.is_empty() { String::new() } else { format!(" (except {} of any host, to connect to)", open.join(", ")) }
}

/// A warning if the root folder has to stay readable.
pub(super) fn warn_if_whole_tree(needs: &Needs) -> Option<String> {
    let is_root = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == Path::new("/"));
    needs.read.iter().any(is_root).then(|| {
        "a configured file, or a link on its path, is in /, so every file stays readable: put it into a folder of its own"
            .to_owned()
    })
}

impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restricted { abi, open } => write!(f, "{} (Landlock {abi})", description(*abi, &except(open))),
            Self::Absent => write!(f, "files stay as accessible as before: this kernel has no Landlock"),
            Self::Refused(why) => write!(f, "files stay as accessible as before: Landlock: {why}"),
        }
    }
}
