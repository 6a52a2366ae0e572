//! A process as a container runtime would start it: this very program under another hat. It makes the root that the pod's
//! specification describes, gives up all rights but the specification's, and becomes the daemon.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, process};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};
use rustix::process::chroot;
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};

/// The file with the specification stands in this variable.
const ASKED: &str = "RSTWATCH_POD";

/// What is to run, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pod {
    /// The image's files; mount points are made in it.
    pub(super) root: PathBuf,
    /// Host's folder and where it is mounted, read-only.
    pub(super) mounts: Vec<(PathBuf, String)>,
    /// Without `CAP_`.
    pub(super) capabilities: Vec<String>,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// Its environment.
    pub(super) env: Vec<(String, String)>,
}

/// A command that becomes the pod's program, in mount, network, IPC and UTS namespaces of its own; its pids are the host's.
pub(super) fn command(pod: &Pod, specification: &Path) -> Result<Command> {
    fs::write(specification, serde_json::to_vec(pod)?)?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--ipc", "--uts", "--propagation", "private"]);
    unshare.arg(env::current_exe()?).env(ASKED, specification);
    Ok(unshare)
}

/// Called first in `main`: does not come back if this process is to be a pod.
pub(crate) fn become_pod_if_requested() {
    let Some(file) = env::var_os(ASKED) else { return };
    let error = match become_pod(Path::new(&file)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("pod: {error:#}");
    _ = ExitCode::FAILURE;
    process::exit(1);
}

fn become_pod(file: &Path) -> Result<std::convert::Infallible> {
    let pod: Pod = serde_json::from_slice(&fs::read(file)?)?;
    let cgroup_is_mounted = pod.mounts.iter().any(|(_, at)| at == "/sys/fs/cgroup");
    anyhow::ensure!(cgroup_is_mounted, "a runtime would mount the container's own cgroup here; this does not");
    make_root(&pod).context("cannot make its root")?;
    chroot(&pod.root)?;
    env::set_current_dir("/")?;
    keep(&pod.capabilities).context("cannot give up capabilities")?;
    let [program, args @ ..] = &*pod.command else { anyhow::bail!("no command") };
    let mut command = Command::new(program);
    let error = command.args(args).env_clear().envs(pod.env).exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}

/// As runtimes do by default: proc with read-only settings, sysfs read-only, four devices, then the pod's own mounts.
fn make_root(pod: &Pod) -> Result<()> {
    const LOCKED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
    let inside = |path: &str| pod.root.join(path.trim_start_matches('/'));
    let own = pod.mounts.iter().map(|(_, at)| &**at).filter(|at| !at.starts_with("/sys/"));
    for folder in ["/proc", "/sys", "/dev"].into_iter().chain(own) {
        fs::create_dir_all(inside(folder))?;
    }
    mount_bind_recursive(&pod.root, &pod.root)?;
    mount("proc", inside("/proc"), "proc", LOCKED, None)?;
    mount_bind(inside("/proc/sys"), inside("/proc/sys"))?;
    mount_remount(inside("/proc/sys"), MountFlags::BIND | MountFlags::RDONLY | LOCKED, "")?;
    mount("sysfs", inside("/sys"), "sysfs", LOCKED | MountFlags::RDONLY, None)?;
    mount("tmpfs", inside("/dev"), "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, None)?;
    for device in ["null", "zero", "random", "urandom"] {
        let place = inside("/dev").join(device);
        File::create(&place)?;
        mount_bind(Path::new("/dev").join(device), &place)?;
    }
    for (host, at) in &pod.mounts {
        let place = inside(at);
        mount_bind_recursive(host, &place).with_context(|| format!("cannot mount {}", host.display()))?;
        mount_remount(&place, MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    mount_remount(&pod.root, MountFlags::BIND | MountFlags::RDONLY, "")?;
    Ok(())
}

/// `drop: [ALL]`, `add: names`, `allowPrivilegeEscalation: false`.
fn keep(names: &[String]) -> Result<()> {
    let mut kept = CapabilitySet::empty();
    for name in names {
        kept |= CapabilitySet::from_name(name).with_context(|| format!("{name} is no capability"))?;
    }
    for other in CapabilitySet::all().difference(kept).iter() {
        // A kernel that is older than the list does not have the last ones.
        match remove_capability_from_bounding_set(other) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => (),
            Err(error) => return Err(error.into()),
        }
    }
    set_no_new_privs(true)?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
