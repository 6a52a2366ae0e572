//! What a cgroup's path says of who lives there. No I/O.
//!
//! Runtimes name cgroups as they like; their shapes are in the table of the tests. Two rules hold for all: the outermost
//! container counts, and a pod's container counts before any other (a node may itself be a container, as with kind). So nobody
//! inside a pod's container passes for another. Who may make cgroups elsewhere, as other containers or users with delegated
//! cgroups, can pass for a pod whose uid they know: a path tells shapes, not who made it.

use std::sync::Arc;

/// The kernel's limit of a path (PATH_MAX); what is longer says nothing.
const LONGEST: usize = 4096;
/// A container's or machine's name that is not an id may be so long.
const LONGEST_NAME: usize = 128;

/// Who lives in a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody in particular: the root, a login session, or what no rule knows.
    Nothing,
    /// A systemd unit, by its name as systemd escapes it.
    Unit(Arc<str>),
    /// A pod, outside of its containers.
    Pod(Arc<str>),
    /// A container.
    Container {
        /// Whose it is.
        runtime: Runtime,
        /// 64 hexadecimal digits, or a name where the runtime has names.
        id: Arc<str>,
        /// The pod's uid, where the path tells it.
        pod: Option<Arc<str>>,
    },
}

impl Place {
    /// Which of several paths of one process says more. A slice alone says little.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
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

/// Who made a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// containerd, by CRI or by itself, nerdctl too.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker, and Amazon ECS, which runs it.
    Docker,
    /// Podman.
    Podman,
    /// A step of an image's build.
    Buildkit,
    /// LXC, LXD, Incus, Proxmox.
    Lxc,
    /// A machine of systemd's: nspawn and others that register.
    Nspawn,
    /// Cloud Foundry.
    Garden,
    /// Below a pod; the path does not tell.
    Kubernetes,
    /// The path does not tell.
    Other,
}

/// Reads a path as it stands in `/proc/PID/cgroup`, or below the hierarchy's root.
pub fn parse(path: &str) -> Place {
    if path.len() > LONGEST {
        return Place::Nothing;
    }
    // A removed cgroup's path says so while a task is still in it (kernel/cgroup/cgroup.c, proc_cgroup_show).
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut reading = Reading::default();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        reading.take(name);
    }
    reading.place()
}

/// What was met on the way from the root.
#[derive(Default)]
struct Reading<'a> {
    /// The component before.
    parent: &'a str,
    /// And the one before that.
    grandparent: &'a str,
    pod: Option<String>,
    in_pod: Option<(Runtime, String)>,
    container: Option<(Runtime, String)>,
    unit: Option<&'a str>,
    slice: Option<&'a str>,
    /// In somebody's login session.
    session: bool,
}

impl<'a> Reading<'a> {
    fn take(&mut self, name: &'a str) {
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

    /// What a component would be that has no other mark than where it stands.
    fn expected(&self) -> Option<Runtime> {
        match self.parent {
            // cgroupfs drivers: the id alone.
            "docker" | "moby" => Some(Runtime::Docker),
            "libpod_parent" | "libpod" => Some(Runtime::Podman),
            // containerd without a parent: /NAMESPACE/ID.
            "k8s.io" | "default" | "containerd" | "nerdctl" | "cri-containerd" => Some(Runtime::Containerd),
            "crio" => Some(Runtime::Crio),
            "buildkit" => Some(Runtime::Buildkit),
            "lxc" | "lxc.payload" => Some(Runtime::Lxc),
            "garden" => Some(Runtime::Garden),
            "good" if self.grandparent == "garden" => Some(Runtime::Garden),
            // Out of a cgroup namespace a sibling is ../ID: pods' containers alone are seen so.
            ".." => Some(Runtime::Kubernetes),
            parent if self.is_task(parent) => Some(Runtime::Docker),
            parent if pod(parent).is_some() => Some(Runtime::Kubernetes),
            // `docker run --cgroup-parent`, as GitHub's runners have it. What a unit calls so is the unit's affair.
            _ => self.unit.is_none().then_some(Runtime::Other),
        }
    }

    /// `/ecs/TASK/ID`, and `/ecs/CLUSTER/TASK/ID` before.
    fn is_task(&self, parent: &str) -> bool {
        let plain = |task: &str| !task.is_empty() && task.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        self.grandparent == "ecs" && plain(parent)
    }

    fn place(self) -> Place {
        let Self { pod, in_pod, container, unit, slice, session, .. } = self;
        let of =
            |(runtime, id): (Runtime, String), pod: Option<Arc<str>>| Place::Container { runtime, id: id.into(), pod };
        match (pod.map(Arc::from), in_pod, container) {
            (Some(pod), Some(found), _) => of(found, Some(pod)),
            (Some(pod), None, _) => Place::Pod(pod),
            (None, _, Some(found)) => of(found, None),
            (None, ..) => match unit.or(slice) {
                Some(name) if !session && !is_monitor(name) => Place::Unit(name.into()),
                _ => Place::Nothing,
            },
        }
    }
}

/// Components that say themselves that they are containers.
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

/// A systemd path that a runtime without the systemd driver took for a folder: `SLICE:PREFIX:ID`.
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

/// Containers that are machines, with names.
fn machine(name: &str) -> Option<(Runtime, String)> {
    let nspawn = name.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
    let scope = name.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"));
    // A virtual machine's scope holds qemu, which is a process of this host.
    let scope = scope.filter(|name| !name.starts_with("qemu"));
    let (runtime, name) = match nspawn.or(scope) {
        Some(name) => (Runtime::Nspawn, name),
        None => (Runtime::Lxc, name.strip_prefix("lxc.payload.")?),
    };
    is_name(name).then(|| (runtime, name.to_owned()))
}

/// A pod's uid: `podUID` of the cgroupfs driver, or `…kubepods[-QOS]-podUID.slice` of systemd's, whose dashes are `_`.
fn pod(name: &str) -> Option<String> {
    if let Some(uid) = name.strip_prefix("pod") {
        return is_uid(uid).then(|| uid.to_owned());
    }
    // Where the slice is followed by a prefix and an id, the runtime has taken a systemd path for a folder.
    let slice = name.split(':').next()?.strip_suffix(".slice")?;
    let (above, uid) = slice.rsplit_once("-pod")?;
    let above = above.strip_suffix("-burstable").or_else(|| above.strip_suffix("-besteffort")).unwrap_or(above);
    let kubepods = above.strip_suffix("kubepods").is_some_and(|root| root.is_empty() || root.ends_with('-'));
    let uid = uid.replace('_', "-");
    (kubepods && is_uid(&uid)).then_some(uid)
}

/// A uid of the API (8-4-4-4-12), or a static pod's, which is a hash of its configuration (32).
fn is_uid(uid: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let dashed = || uid.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && uid.split('-').all(hex);
    (uid.len() == 32 && hex(uid)) || (uid.len() == 36 && dashed())
}

fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A build's step: 25 digits and small letters.
fn is_build(id: &str) -> bool {
    id.len() == 25 && id.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// On Fargate a container is `TASK-NUMBER`.
fn is_fargate(name: &str, task: &str) -> bool {
    let number = name.strip_prefix(task).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A name that somebody gave. systemd escapes what is not in it as `\xNN`.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.\\:".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

/// Units in whose cgroups processes live.
fn is_unit(name: &str) -> bool {
    const SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
    SUFFIXES.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(|rest| !rest.is_empty()))
}

/// A container's monitor is a process of its own, in a scope that is named by the container's id.
fn is_monitor(unit: &str) -> bool {
    unit.strip_suffix(".scope").is_some_and(|name| name.contains("conmon-"))
}

#[cfg(test)]
mod tests;
