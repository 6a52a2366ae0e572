//! Watches directories with inotify, and reads the events.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Maximum number of watched directories: half of what the smallest hosts allow a user (`fs.inotify.max_user_watches`), since
/// that user's other programs need watches too.
const MAX_WATCHES: usize = 4096;
/// Size of the read buffer in bytes.
const BUFFER: usize = 16 * 1024;

/// One event: a directory entry was created or deleted, or a watch ended.
pub(super) struct InotifyEvent {
    pub(super) watch: i32,
    pub(super) flags: ReadFlags,
    /// Name within the watched directory; empty if the event concerns the directory itself.
    pub(super) name: OsString,
}

/// Why a directory is not watched.
pub(super) enum NotWatched {
    /// [`MAX_WATCHES`] are in use.
    Limit,
    /// The kernel refused.
    Refused(Errno),
}

/// An inotify instance and its watches.
#[derive(Default)]
pub(super) struct Inotify {
    /// `None` if the kernel provides no inotify.
    pub(super) fd: Option<OwnedFd>,
    /// Ids of the watched directories, by watch descriptor.
    pub(super) watches: HashMap<i32, u64>,
}

impl Inotify {
    pub(super) fn new() -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let fd = inotify::init(flags);
        if let Err(error) = &fd {
            tracing::debug!("inotify is unavailable ({error}); finding cgroups by periodic walks instead");
        }
        Self { fd: fd.ok(), watches: HashMap::new() }
    }

    /// The inotify descriptor. It becomes readable when events are queued.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Watches the directory with this id. Returns `None` without inotify, or if the directory is already gone; the watch on
    /// its parent then reports the removal.
    pub(super) fn add(&mut self, path: &Path, id: u64) -> Result<Option<i32>, NotWatched> {
        if self.watches.len() >= MAX_WATCHES {
            return Err(NotWatched::Limit);
        }
        let Some(fd) = &self.fd else { return Ok(None) };
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(fd, path, flags) {
            Ok(watch) => {
                self.watches.insert(watch, id);
                Ok(Some(watch))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(NotWatched::Refused(error)),
        }
    }

    /// Removes a watch.
    pub(super) fn remove(&mut self, watch: i32) {
        let Some(fd) = &self.fd else { return };
        self.watches.remove(&watch);
        // Fails if the directory was removed, which ends its watch.
        _ = inotify::remove_watch(fd, watch);
    }

    /// Reads the queued events, at most one buffer of them. The flag tells whether the kernel's queue overflowed.
    pub(super) fn read(&self) -> (Vec<InotifyEvent>, bool) {
        let Some(fd) = &self.fd else { return (Vec::new(), false) };
        let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        let mut events = Vec::new();
        let mut overflow = false;
        while let Ok(event) = reader.next() {
            overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            events.push(InotifyEvent { watch: event.wd(), flags: event.events(), name: name.unwrap_or_default() });
            // Another call to `next` would issue another read.
            if reader.is_buffer_empty() {
                break;
            }
        }
        (events, overflow)
    }
}
