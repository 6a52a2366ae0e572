//! Parses a cgroup's path into its owner: a container, pod or systemd unit. No I/O.
//!
//! Every runtime names cgroups in its own format; the tests list them. Two rules hold for all: the outermost container wins, and
//! a pod's container wins over any other (a node may itself be a container, as with kind). So a process in a pod's container
//! cannot pass for another pod. A process that can create cgroups elsewhere, in another container or a delegated cgroup, can
//! pass for a pod of a known uid: a path shows a format, not its creator.

use std::sync::Arc;

/// Longest path parsed (PATH_MAX).
const MAX_PATH: usize = 4096;
/// Longest name of a container or machine.
const MAX_NAME: usize = 128;

/// The owner that a cgroup path shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupOwner {
    /// No container, pod or unit: the root, a login session, or an unknown format.
    Unmanaged,
    /// A systemd unit, by its escaped name.
    Unit(Arc<str>),
    /// A pod, by its uid; the process is outside of its containers.
    Pod(Arc<str>),
    /// A container.
    Container {
        /// The runtime that created it.
        runtime: Runtime,
        /// 64 hexadecimal digits, or a name if the runtime uses names.
        id: Arc<str>,
        /// The pod's uid, if the path contains it.
        pod: Option<Arc<str>>,
    },
}

impl CgroupOwner {
    /// How specific the owner is. Of several paths of a process, the one with the highest rank wins.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Unmanaged => 0,
            Self::Unit(name) if name.ends_with(".slice") => 1,
            Self::Unit(_) => 2,
            Self::Pod(_) => 3,
            Self::Container { pod: None, .. } => 4,
            Self::Container { pod: Some(_), .. } => 5,
        }
    }

    /// Whether it is a container or a pod.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Container { .. } | Self::Pod(_))
    }
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// containerd, through CRI or directly, including nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker, including Amazon ECS.
    Docker,
    /// Podman.
    Podman,
    /// BuildKit: a step of an image build.
    Buildkit,
    /// LXC, LXD, Incus, Proxmox.
    Lxc,
    /// systemd-nspawn, and other machines registered with systemd.
    Nspawn,
    /// Cloud Foundry.
    Garden,
    /// Unknown, within a pod.
    Kubernetes,
    /// Unknown.
    Other,
}

/// Parses a path as shown in `/proc/PID/cgroup`, or relative to the root of the hierarchy.
pub fn parse(path: &str) -> CgroupOwner {
    if path.len() > MAX_PATH {
        return CgroupOwner::Unmanaged;
    }
    // The kernel marks a removed cgroup that still has a task (kernel/cgroup/cgroup.c, proc_cgroup_show).
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut parser = Parser::default();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        parser.push(name);
    }
    parser.finish()
}

/// What the components from the root down have shown so far.
#[derive(Default)]
struct Parser<'a> {
    /// The previous component.
    parent: &'a str,
    /// The component before the parent.
    grandparent: &'a str,
    pod: Option<String>,
    in_pod: Option<(Runtime, String)>,
    container: Option<(Runtime, String)>,
    unit: Option<&'a str>,
    slice: Option<&'a str>,
    /// Within a login session.
    session: bool,
}

impl<'a> Parser<'a> {
    fn push(&mut self, name: &'a str) {
        if let Some(pod) = pod(name).filter(|_| self.pod.is_none()) {
            self.pod = Some(pod);
        }
        if let Some(found) = self.container(name) {
            let kept = if self.pod.is_some() { &mut self.in_pod } else { &mut self.container };
            kept.get_or_insert(found);
        }
        self.unit(name);
        (self.grandparent, self.parent) = (self.parent, name);
    }

    fn unit(&mut self, name: &'a str) {
        if name.ends_with(".slice") {
            self.slice = Some(name);
        } else if name.starts_with("session-") && name.ends_with(".scope") {
            self.session = true;
        } else if is_unit(name) && !(name == "init.scope" && self.unit.is_some()) {
            self.unit = Some(name);
            self.session = false;
        }
    }

    fn container(&self, name: &str) -> Option<(Runtime, String)> {
        by_name(name).or_else(|| {
            let runtime = self.expected()?;
            let fits = match runtime {
                Runtime::Lxc => is_name(name),
                Runtime::Garden => is_name(name) && !["good", "bad"].contains(&name),
                Runtime::Buildkit => is_build(name),
                _ => is_id(name) || (self.is_task(self.parent) && is_fargate(name, self.parent)),
            };
            fits.then(|| (runtime, name.to_owned()))
        })
    }

    /// The runtime of a component whose name has no prefix, judged by its parents.
    fn expected(&self) -> Option<Runtime> {
        match self.parent {
            // cgroupfs drivers use the bare id.
            "docker" | "moby" => Some(Runtime::Docker),
            "libpod_parent" | "libpod" => Some(Runtime::Podman),
            // containerd without a cgroup parent: /NAMESPACE/ID.
            "k8s.io" | "default" | "containerd" | "nerdctl" | "cri-containerd" => Some(Runtime::Containerd),
            "crio" => Some(Runtime::Crio),
            "buildkit" => Some(Runtime::Buildkit),
            "lxc" | "lxc.payload" => Some(Runtime::Lxc),
            "garden" => Some(Runtime::Garden),
            "good" if self.grandparent == "garden" => Some(Runtime::Garden),
            // From within a cgroup namespace a sibling is ../ID; only containers of the same pod appear like that.
            ".." => Some(Runtime::Kubernetes),
            parent if self.is_task(parent) => Some(Runtime::Docker),
            parent if pod(parent).is_some() => Some(Runtime::Kubernetes),
            // `docker run --cgroup-parent`, as GitHub's runners use it. Within a unit such a name is the unit's own.
            _ => self.unit.is_none().then_some(Runtime::Other),
        }
    }

    /// Amazon ECS: `/ecs/TASK/ID`, formerly `/ecs/CLUSTER/TASK/ID`.
    fn is_task(&self, parent: &str) -> bool {
        let plain = |task: &str| !task.is_empty() && task.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        self.grandparent == "ecs" && plain(parent)
    }

    fn finish(self) -> CgroupOwner {
        let Self { pod, in_pod, container, unit, slice, session, .. } = self;
        let of = |(runtime, id): (Runtime, String), pod: Option<Arc<str>>| CgroupOwner::Container {
            runtime,
            id: id.into(),
            pod,
        };
        match (pod.map(Arc::from), in_pod, container) {
            (Some(pod), Some(found), _) => of(found, Some(pod)),
            (Some(pod), None, _) => CgroupOwner::Pod(pod),
            (None, _, Some(found)) => of(found, None),
            (None, ..) => match unit.or(slice) {
                Some(name) if !session && !is_monitor(name) => CgroupOwner::Unit(name.into()),
                _ => CgroupOwner::Unmanaged,
            },
        }
    }
}

/// Components whose prefix names the runtime.
fn by_name(name: &str) -> Option<(Runtime, String)> {
    const PREFIXES: [(&str, Runtime); 6] = [
        ("cri-containerd-", Runtime::Containerd),
        ("containerd-", Runtime::Containerd),
        ("nerdctl-", Runtime::Containerd),
        ("crio-", Runtime::Crio),
        ("docker-", Runtime::Docker),
        ("libpod-", Runtime::Podman),
    ];
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some((runtime, id.to_owned()));
        }
    }
    by_colons(name).or_else(|| machine(name))
}

/// `SLICE:PREFIX:ID`: a path for the systemd driver that a runtime without that driver used as a directory name.
fn by_colons(name: &str) -> Option<(Runtime, String)> {
    let mut parts = name.splitn(3, ':');
    let (slice, prefix, id) = (parts.next()?, parts.next()?, parts.next()?);
    let runtime = match prefix {
        "cri-containerd" | "containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::Crio,
        "docker" if is_build(id) => Runtime::Buildkit,
        "docker" => Runtime::Docker,
        "libpod" => Runtime::Podman,
        _ => return None,
    };
    let slice = slice.is_empty() || slice.ends_with(".slice");
    (slice && (is_id(id) || runtime == Runtime::Buildkit)).then(|| (runtime, id.to_owned()))
}

/// System containers, which have names.
fn machine(name: &str) -> Option<(Runtime, String)> {
    let nspawn = name.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
    let scope = name.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"));
    // The scope of a virtual machine contains qemu, which is a process of this host.
    let scope = scope.filter(|name| !name.starts_with("qemu"));
    let (runtime, name) = match nspawn.or(scope) {
        Some(name) => (Runtime::Nspawn, name),
        None => (Runtime::Lxc, name.strip_prefix("lxc.payload.")?),
    };
    is_name(name).then(|| (runtime, name.to_owned()))
}

/// A pod's uid: `podUID` with the cgroupfs driver, `…kubepods[-QOS]-podUID.slice` with the systemd driver, where dashes are
/// written `_`.
fn pod(name: &str) -> Option<String> {
    if let Some(uid) = name.strip_prefix("pod") {
        return is_uid(uid).then(|| uid.to_owned());
    }
    // A prefix and an id may follow the slice; see `by_colons`.
    let slice = name.split(':').next()?.strip_suffix(".slice")?;
    let (above, uid) = slice.rsplit_once("-pod")?;
    let above = above.strip_suffix("-burstable").or_else(|| above.strip_suffix("-besteffort")).unwrap_or(above);
    let kubepods = above.strip_suffix("kubepods").is_some_and(|root| root.is_empty() || root.ends_with('-'));
    let uid = uid.replace('_', "-");
    (kubepods && is_uid(&uid)).then_some(uid)
}

/// A uid assigned by the API (8-4-4-4-12), or that of a static pod, a hash of its manifest (32 digits).
fn is_uid(uid: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let dashed = || uid.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && uid.split('-').all(hex);
    (uid.len() == 32 && hex(uid)) || (uid.len() == 36 && dashed())
}

fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A build step: 25 digits and lower-case letters.
fn is_build(id: &str) -> bool {
    id.len() == 25 && id.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// A container on Fargate: `TASK-NUMBER`.
fn is_fargate(name: &str, task: &str) -> bool {
    let number = name.strip_prefix(task).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A name chosen by a user. systemd escapes other characters as `\xNN`.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.\\:".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

/// Unit types whose cgroups contain processes.
fn is_unit(name: &str) -> bool {
    const SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
    SUFFIXES.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(|rest| !rest.is_empty()))
}

/// The scope of a container's monitor (conmon), which contains the container's id but is not the container.
fn is_monitor(unit: &str) -> bool {
    unit.strip_suffix(".scope").is_some_and(|name| name.contains("conmon-"))
}

#[cfg(test)]
mod tests;
