//! The cgroup2 hierarchy as a folder of folders: which id stands where.
//!
//! A cgroup's id is the inode of its folder (fs/kernfs: `kernfs_node.id`; on 64 bit, since Linux 5.5, the two are one), and it
//! is never given again. inotify tells of folders that come and go; where it cannot, walks from time to time do.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};

/// Most folders that are kept. A node of Kubernetes has a few hundred, at most some thousands.
const MOST: usize = 32_768;
/// Most folders that are watched: half of what the smallest machines allow a user, whose other programs watch, too
/// (`fs.inotify.max_user_watches`).
const MOST_WATCHES: usize = 4096;
/// Folders deeper than this say nothing new.
const DEEPEST: usize = 32;
/// inotify's messages that are read at once.
const MESSAGES: usize = 16 * 1024;

/// What became of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there.
    Came {
        /// Its id.
        id: u64,
        /// Its parent's.
        parent: u64,
        /// Where it stands, from the root.
        path: String,
    },
    /// It is not any more.
    Went(u64),
}

struct Folder {
    parent: u64,
    name: Arc<OsStr>,
    watch: Option<i32>,
    /// The last walk that met it.
    walk: u32,
}

/// The folders, as far as they are known.
pub(super) struct Tree {
    root: PathBuf,
    root_id: u64,
    inotify: Option<OwnedFd>,
    folders: HashMap<u64, Folder>,
    names: HashMap<(u64, Arc<OsStr>), u64>,
    watches: HashMap<i32, u64>,
    walk: u32,
    most: usize,
    /// A folder is not watched, so some may come unheard.
    deaf: bool,
    /// A folder could not be read in the last walk, so what was not met may be there.
    partial: bool,
}

impl Tree {
    /// Nothing known yet. Without inotify where the kernel gives none.
    pub(super) fn new(root: PathBuf) -> Self {
        let root_id = std::fs::metadata(&root).map_or(0, |root| root.ino());
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let heard = inotify::init(flags);
        if let Err(error) = &heard {
            tracing::debug!("cgroups are looked at from time to time: no inotify: {error}");
        }
        Self {
            root,
            root_id,
            inotify: heard.ok(),
            folders: HashMap::new(),
            names: HashMap::new(),
            watches: HashMap::new(),
            walk: 0,
            most: MOST,
            deaf: false,
            partial: false,
        }
    }

    /// The descriptor that becomes readable when folders come or go.
    pub(super) fn heard(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Folders come or go unheard: only walks find them all.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf || self.inotify.is_none()
    }

    /// Looks at everything anew.
    pub(super) fn walk(&mut self, tell: &mut dyn FnMut(Change)) {
        self.walk = self.walk.wrapping_add(1);
        (self.deaf, self.partial) = (false, false);
        if let Some(watch) = self.watch(&self.root.clone()) {
            self.watches.insert(watch, self.root_id);
        }
        self.scan(self.root_id, PathBuf::new(), tell);
        self.forget_unmet(tell);
    }

    /// What a walk has not met is gone, if it could read all.
    fn forget_unmet(&mut self, tell: &mut dyn FnMut(Change)) {
        if self.partial {
            self.deaf = true;
            return;
        }
        let unmet = self.folders.iter().filter(|(_, folder)| folder.walk != self.walk);
        let unmet: Vec<_> = unmet.map(|(id, _)| *id).collect();
        unmet.into_iter().for_each(|id| self.remove(id, tell));
    }

    /// What inotify has told since. A full queue has lost something, so all is looked at anew.
    pub(super) fn hear(&mut self, tell: &mut dyn FnMut(Change)) {
        loop {
            let (heard, overflow) = self.messages();
            if overflow {
                tracing::debug!("too many cgroups came and went at once: all are looked at anew");
                return self.walk(tell);
            }
            if heard.is_empty() {
                return;
            }
            for (watch, flags, name) in heard {
                self.message(watch, flags, &name, tell);
            }
        }
    }

    fn messages(&self) -> (Vec<(i32, ReadFlags, OsString)>, bool) {
        let Some(inotify) = &self.inotify else { return (Vec::new(), false) };
        let mut buffer = [MaybeUninit::<u8>::uninit(); MESSAGES];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        let mut heard = Vec::new();
        let mut overflow = false;
        // Its messages arrive as one read brings them; at most so many as fit.
        while let Ok(message) = reader.next() {
            overflow |= message.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = message.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            heard.push((message.wd(), message.events(), name.unwrap_or_default()));
            if reader.is_buffer_empty() {
                break;
            }
        }
        (heard, overflow)
    }

    fn message(&mut self, watch: i32, flags: ReadFlags, name: &OsStr, tell: &mut dyn FnMut(Change)) {
        if flags.contains(ReadFlags::IGNORED) {
            self.watches.remove(&watch);
            return;
        }
        let Some(parent) = self.watches.get(&watch).copied().filter(|_| flags.contains(ReadFlags::ISDIR)) else {
            return;
        };
        if flags.contains(ReadFlags::DELETE) {
            if let Some(id) = self.names.get(&(parent, Arc::from(name))).copied() {
                self.remove(id, tell);
            }
        } else if flags.contains(ReadFlags::CREATE)
            && let Some(path) = self.path(parent)
        {
            // It may be gone again: then nobody knows its id.
            let path = path.join(name);
            if let Ok(folder) = std::fs::symlink_metadata(self.root.join(&path)) {
                self.found(folder.ino(), parent, name, &path, tell);
            }
        }
    }

    /// A folder and all below it.
    fn found(&mut self, id: u64, parent: u64, name: &OsStr, path: &Path, tell: &mut dyn FnMut(Change)) {
        if self.add(id, parent, name, path, tell) {
            self.scan(id, path.to_owned(), tell);
        }
    }

    /// All below a folder that is known.
    fn scan(&mut self, id: u64, path: PathBuf, tell: &mut dyn FnMut(Change)) {
        let mut todo = vec![(id, path)];
        while let Some((parent, path)) = todo.pop() {
            let at = self.root.join(&path);
            // kernfs counts a folder's folders in its links (fs/kernfs/inode.c, kernfs_refresh_inode): most have none.
            let empty = std::fs::metadata(&at).is_ok_and(|folder| folder.nlink() == 2);
            if empty || path.components().count() >= DEEPEST {
                continue;
            }
            let entries = match std::fs::read_dir(&at) {
                Ok(entries) => entries,
                Err(error) => {
                    // One that is gone has nothing in it, and what a user hides is as good as gone: else whoever is given a
                    // cgroup could have all others kept for ever. Processes in there are found by /proc. Others are looked
                    // at again.
                    self.partial |= !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied);
                    continue;
                }
            };
            let folders = entries.filter_map(Result::ok).filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
            for entry in folders {
                let path = path.join(entry.file_name());
                if self.add(entry.ino(), parent, &entry.file_name(), &path, tell) {
                    todo.push((entry.ino(), path));
                }
            }
        }
    }

    /// Whether there was room for it. It is watched before its own folders are read: none is missed.
    fn add(&mut self, id: u64, parent: u64, name: &OsStr, path: &Path, tell: &mut dyn FnMut(Change)) -> bool {
        // Elsewhere than in the hierarchy a number is given again.
        if self.folders.get(&id).is_some_and(|known| known.parent != parent || *known.name != *name) {
            self.remove(id, tell);
        }
        if let Some(known) = self.folders.get_mut(&id) {
            known.walk = self.walk;
            if known.watch.is_none() {
                let watch = self.watch(&self.root.join(path));
                watch.and_then(|watch| self.watches.insert(watch, id));
                self.folders.entry(id).and_modify(|known| known.watch = watch);
            }
            return true;
        }
        if self.folders.len() >= self.most {
            self.deaf = true;
            return false;
        }
        let watch = self.watch(&self.root.join(path));
        if let Some(watch) = watch {
            self.watches.insert(watch, id);
        }
        let name: Arc<OsStr> = name.into();
        self.names.insert((parent, Arc::clone(&name)), id);
        self.folders.insert(id, Folder { parent, name, watch, walk: self.walk });
        tell(Change::Came { id, parent, path: format!("/{}", path.to_string_lossy()) });
        true
    }

    fn remove(&mut self, id: u64, tell: &mut dyn FnMut(Change)) {
        let Some(Folder { parent, name, watch, .. }) = self.folders.remove(&id) else { return };
        if self.names.get(&(parent, Arc::clone(&name))) == Some(&id) {
            self.names.remove(&(parent, name));
        }
        if let (Some(watch), Some(inotify)) = (watch, &self.inotify) {
            self.watches.remove(&watch);
            // An error means that it is gone with its folder.
            _ = inotify::remove_watch(inotify, watch);
        }
        tell(Change::Went(id));
    }

    fn watch(&mut self, at: &Path) -> Option<i32> {
        if self.watches.len() >= MOST_WATCHES {
            self.deaf = true;
            return None;
        }
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(self.inotify.as_ref()?, at, flags) {
            Ok(watch) => Some(watch),
            // It was removed meanwhile, and inotify tells so.
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => {
                if !self.deaf {
                    tracing::debug!("cgroups are looked at from time to time: {}: {error}", at.display());
                }
                self.deaf = true;
                None
            }
        }
    }

    /// A folder's path from the root.
    fn path(&self, mut id: u64) -> Option<PathBuf> {
        let mut names = Vec::new();
        while id != self.root_id {
            let folder = self.folders.get(&id).filter(|_| names.len() < DEEPEST)?;
            names.push(Arc::clone(&folder.name));
            id = folder.parent;
        }
        Some(names.iter().rev().map(|name| Path::new(&**name)).collect())
    }

    /// The root's id.
    pub(super) fn root_id(&self) -> u64 {
        self.root_id
    }

    /// How many folders are known.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.folders.len()
    }
}

#[cfg(test)]
mod tests;
