//! A watched network namespace: how the programs recognise it, and whether it still exists.
//!
//! An inode does not identify it: the kernel gives the inode of a deleted namespace to the next one. The cookie is never
//! reused (net/core/net_namespace.c); a thread that enters the namespace for a moment reads it. Where that is not possible,
//! the namespace is held open, which keeps its inode. docs/design/watched-namespaces.md has the reasons.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, open, openat, statat, statfs};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// `NSFS_MAGIC` of include/uapi/linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// `NS_GET_NSTYPE` of include/uapi/linux/nsfs.h, since Linux 4.11.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
/// A file that each namespace has below `/proc/net/stat`, and that the kernel removes before it frees the namespace's inode
/// (`ip_rt_do_proc_exit`, net/ipv4/route.c).
const WITNESS: &str = "rt_cache";
/// What to give instead.
const EXAMPLES: &str = "give a path like /run/netns/NAME or /proc/PID/ns/net";

/// A network namespace that is watched.
#[derive(Clone, Debug)]
pub struct Netns {
    path: PathBuf,
    inode: u32,
    identity: Identity,
}

/// What identifies a namespace for as long as it is watched.
#[derive(Clone, Debug)]
enum Identity {
    /// Its cookie. The folder is its `/proc/net/stat`, which does not keep it alive.
    Cookie { cookie: u64, folder: Arc<OwnedFd> },
    /// Its inode, which it keeps as long as this descriptor is open.
    Held { _namespace: Arc<OwnedFd> },
}

/// How a watched namespace was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It no longer exists.
    Gone,
    /// Its path no longer leads to it. It exists, because it is held open.
    Unnamed,
}

impl Netns {
    /// Opens and identifies the namespaces at these paths: all by their cookies, or all by inodes that are held.
    ///
    /// # Errors
    ///
    /// A path cannot be opened, or is no network namespace.
    pub fn resolve(paths: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        let opened = paths.iter().map(|path| Opened::new(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let entered: io::Result<Vec<_>> = opened.iter().map(Opened::enter).collect();
        let identities: Vec<_> = match entered {
            Ok(entered) => entered,
            Err(error) => {
                tracing::info!("the namespaces of --netns are held open until rstwatch ends: {}", why_held(&error));
                opened.iter().map(|it| Identity::Held { _namespace: Arc::clone(&it.namespace) }).collect()
            }
        };
        let both = opened.into_iter().zip(identities);
        Ok(both.map(|(Opened { path, inode, .. }, identity)| Self { path, inode, identity }).collect())
    }

    /// The path that was given for it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its cookie identifies it; otherwise its inode does.
    pub fn has_cookie(&self) -> bool {
        matches!(self.identity, Identity::Cookie { .. })
    }

    /// The number that the programs compare: its cookie, or its inode.
    pub fn key(&self) -> u64 {
        match self.identity {
            Identity::Cookie { cookie, .. } => cookie,
            Identity::Held { .. } => self.inode.into(),
        }
    }

    /// Whether this inode is its inode, and not that of a later namespace.
    pub fn has_inode(&self, inode: u32) -> bool {
        self.inode == inode && self.loss() != Some(Loss::Gone)
    }

    /// How it was lost; `None` if it was not, or if that cannot be seen.
    pub fn loss(&self) -> Option<Loss> {
        match &self.identity {
            Identity::Cookie { folder, .. } => (witness(folder.as_fd()) == Err(Errno::NOENT)).then_some(Loss::Gone),
            Identity::Held { .. } => match std::fs::metadata(&self.path) {
                Ok(found) if found.ino() == u64::from(self.inode) => None,
                // Another user's /proc/PID/ns cannot be read after the lockdown.
                Err(error) if error.kind() != io::ErrorKind::NotFound => None,
                _ => Some(Loss::Unnamed),
            },
        }
    }

    /// A namespace with this inode, which is held.
    #[cfg(test)]
    pub(crate) fn held(inode: u32) -> Self {
        let descriptor = std::fs::File::open("/proc/self/ns/net").expect("own namespace").into();
        Self { path: "/proc/self/ns/net".into(), inode, identity: Identity::Held { _namespace: Arc::new(descriptor) } }
    }
}

/// A namespace while it is being identified.
struct Opened {
    path: PathBuf,
    inode: u32,
    namespace: Arc<OwnedFd>,
}

impl Opened {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let magic = statfs(path).map(|found| found.f_type).map_err(|error| cannot_open(path, error))?;
        // Only then is it opened: opening a device or a FIFO may have effects.
        if magic != NSFS_MAGIC {
            bail!("--netns {shown}: not a network namespace: {EXAMPLES}");
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let namespace = open(path, flags, Mode::empty()).map_err(|error| cannot_open(path, error))?;
        match kind(namespace.as_fd())? {
            libc::CLONE_NEWNET => (),
            other => bail!("--netns {shown}: {}, not a network namespace: {EXAMPLES}", kind_name(other)),
        }
        let inode = fstat(&namespace)?.st_ino;
        let inode = u32::try_from(inode).with_context(|| format!("--netns {shown}: inode {inode} out of range"))?;
        Ok(Self { path: path.to_owned(), inode, namespace: Arc::new(namespace) })
    }

    /// Enters it on a thread of its own, and reads its cookie there. Its own namespace a thread need not enter.
    fn enter(&self) -> io::Result<Identity> {
        let own = std::fs::metadata("/proc/thread-self/ns/net").is_ok_and(|own| own.ino() == u64::from(self.inode));
        let inside = || {
            if !own {
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            }
            Ok(Identity::Cookie { cookie: own_cookie()?, folder: Arc::new(own_folder()?) })
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netns-cookie".into()).spawn_scoped(scope, inside)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
        })
    }
}

fn cannot_open(path: &Path, error: Errno) -> anyhow::Error {
    let shown = path.display();
    match error {
        Errno::NOENT | Errno::NOTDIR => {
            anyhow::anyhow!("--netns {shown}: no such namespace: see ip netns list, or give /proc/PID/ns/net")
        }
        Errno::ACCESS | Errno::PERM => {
            anyhow::anyhow!("--netns {shown}: cannot be opened: {error}: run as root, or give /run/netns/NAME")
        }
        other => anyhow::anyhow!("--netns {shown}: cannot be opened: {other}"),
    }
}

/// The kind of a namespace, as a flag of clone(2).
fn kind(namespace: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind) }
}

fn kind_name(kind: libc::c_int) -> &'static str {
    match kind {
        libc::CLONE_NEWNS => "a mount namespace",
        libc::CLONE_NEWCGROUP => "a cgroup namespace",
        libc::CLONE_NEWUTS => "a UTS namespace",
        libc::CLONE_NEWIPC => "an IPC namespace",
        libc::CLONE_NEWUSER => "a user namespace",
        libc::CLONE_NEWPID => "a PID namespace",
        _ => "a namespace of another kind",
    }
}

/// The cookie of this thread's namespace (`SO_NETNS_COOKIE`, Linux 5.14).
fn own_cookie() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let (mut cookie, mut length): (u64, libc::socklen_t) = (0, 8);
    let (value, size) = ((&raw mut cookie).cast(), &raw mut length);
    // SAFETY: value and length outlive the call, and the length is the value's.
    let answer = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, value, size) };
    match (answer, cookie) {
        (0, 1..) => Ok(cookie),
        (0, 0) => Err(io::Error::other("its cookie is 0")),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `/proc/net/stat` of this thread's namespace. An entry of /proc does not keep its namespace alive.
fn own_folder() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, "/proc/thread-self/net/stat", flags, Mode::empty())?;
    witness(folder.as_fd())?;
    Ok(folder)
}

fn witness(folder: BorrowedFd<'_>) -> rustix::io::Result<()> {
    statat(folder, WITNESS, AtFlags::empty()).map(|_| ())
}

/// Why cookies are not compared.
fn why_held(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "reading their cookies takes CAP_SYS_ADMIN".to_owned(),
        Some(libc::ENOPROTOOPT) => "this kernel does not tell their cookies (Linux 5.14)".to_owned(),
        _ => format!("their cookies cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests;
