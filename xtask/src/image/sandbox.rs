//! Starts a process as a container runtime would. xtask re-executes itself with a specification of the pod; the child creates
//! the pod's root filesystem, drops all other capabilities, and executes the agent.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};
use rustix::process::chroot;
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};

/// Environment variable with the path of the specification.
const SPECIFICATION: &str = "RSTWATCH_POD";

/// The specification.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pod {
    /// Root folder of the image, in which mount points are created.
    pub(super) root: PathBuf,
    /// Read-only mounts: path on the host and path in the pod.
    pub(super) mounts: Vec<(PathBuf, String)>,
    /// Capabilities without the prefix `CAP_`.
    pub(super) capabilities: Vec<String>,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// Environment.
    pub(super) env: Vec<(String, String)>,
}

/// A command that executes the pod's program in new mount, network, IPC and UTS namespaces, and in the host's PID namespace.
pub(super) fn command(pod: &Pod, specification: &Path) -> Result<Command> {
    fs::write(specification, serde_json::to_vec(pod)?)?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--ipc", "--uts", "--propagation", "private"]);
    unshare.arg(env::current_exe()?).env(SPECIFICATION, specification);
    Ok(unshare)
}

/// Executes the pod's program if this process was started by [`command`]. Call it first in `main`.
pub(crate) fn run_pod_if_requested() {
    let Some(file) = env::var_os(SPECIFICATION) else { return };
    let error = match run_pod(Path::new(&file)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("pod: {error:#}");
    process::exit(1);
}

fn run_pod(file: &Path) -> Result<std::convert::Infallible> {
    let pod: Pod = serde_json::from_slice(&fs::read(file)?)?;
    let cgroup_is_mounted = pod.mounts.iter().any(|(_, at)| at == "/sys/fs/cgroup");
    anyhow::ensure!(
        cgroup_is_mounted,
        "the pod must mount /sys/fs/cgroup: this sandbox does not create a cgroup namespace"
    );
    make_root(&pod).context("cannot create the root filesystem")?;
    chroot(&pod.root)?;
    env::set_current_dir("/")?;
    drop_other_capabilities(&pod.capabilities).context("cannot drop capabilities")?;
    let [program, args @ ..] = &*pod.command else { anyhow::bail!("the pod has no command") };
    let mut command = Command::new(program);
    let error = command.args(args).env_clear().envs(pod.env).exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}

/// The default mounts of container runtimes: /proc with read-only /proc/sys, read-only /sys, four devices; then the pod's.
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
        let target = inside("/dev").join(device);
        File::create(&target)?;
        mount_bind(Path::new("/dev").join(device), &target)?;
    }
    for (host, at) in &pod.mounts {
        let target = inside(at);
        mount_bind_recursive(host, &target).with_context(|| format!("cannot mount {}", host.display()))?;
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    mount_remount(&pod.root, MountFlags::BIND | MountFlags::RDONLY, "")?;
    Ok(())
}

/// `drop: [ALL]`, `add: names`, `allowPrivilegeEscalation: false`.
fn drop_other_capabilities(names: &[String]) -> Result<()> {
    let mut kept = CapabilitySet::empty();
    for name in names {
        kept |= CapabilitySet::from_name(name).with_context(|| format!("{name} is not a capability"))?;
    }
    for other in CapabilitySet::all().difference(kept).iter() {
        // An older kernel does not know the newest capabilities.
        match remove_capability_from_bounding_set(other) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => (),
            Err(error) => return Err(error.into()),
        }
    }
    set_no_new_privs(true)?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}
