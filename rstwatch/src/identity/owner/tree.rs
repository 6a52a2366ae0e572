//! The cgroup2 hierarchy as a tree of directories: the path of each cgroup id.
//!
//! A cgroup's id is the inode number of its directory (fs/kernfs: `kernfs_node.id`; the two are equal on 64-bit kernels since
//! Linux 5.5) and is never reused. inotify reports directories that are created and removed; where it cannot, periodic walks
//! find them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::ReadFlags;

use super::inotify::{Inotify, InotifyEvent, NotWatched};

/// Most directories kept. A Kubernetes node has hundreds, at most a few thousand.
const MAX_DIRECTORIES: usize = 32_768;
/// Deepest directory read; deeper ones do not change the owner.
const MAX_DEPTH: usize = 32;

/// A directory was found or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Found.
    Added {
        /// Its id.
        id: u64,
        /// Its parent's id.
        parent: u64,
        /// Its path from the root of the hierarchy.
        path: String,
    },
    /// Removed.
    Removed(u64),
}

struct Directory {
    parent: u64,
    name: Arc<OsStr>,
    watch: Option<i32>,
    /// The last walk that found it.
    walk: u32,
}

/// The known directories.
pub(super) struct Tree {
    root: PathBuf,
    root_id: u64,
    inotify: Inotify,
    directories: HashMap<u64, Directory>,
    names: HashMap<(u64, Arc<OsStr>), u64>,
    walk: u32,
    max_directories: usize,
    /// A directory is not watched, so inotify misses changes.
    unwatched: bool,
    /// The last walk could not read a directory, so directories that it did not find may still exist.
    partial: bool,
}

impl Tree {
    /// An empty tree; call [`walk`](Self::walk) to fill it.
    pub(super) fn new(root: PathBuf) -> Self {
        let root_id = std::fs::metadata(&root).map_or(0, |root| root.ino());
        Self {
            root,
            root_id,
            inotify: Inotify::new(),
            directories: HashMap::new(),
            names: HashMap::new(),
            walk: 0,
            max_directories: MAX_DIRECTORIES,
            unwatched: false,
            partial: false,
        }
    }

    /// The descriptor that becomes readable when directories are created or removed.
    pub(super) fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.fd()
    }

    /// Whether inotify misses changes, so that only walks find everything.
    pub(super) fn needs_walks(&self) -> bool {
        self.unwatched || self.inotify.fd.is_none()
    }

    /// Reads the whole hierarchy.
    pub(super) fn walk(&mut self, on_change: &mut dyn FnMut(Change)) {
        self.walk = self.walk.wrapping_add(1);
        (self.unwatched, self.partial) = (false, false);
        self.watch(&self.root.clone(), self.root_id);
        self.scan(self.root_id, PathBuf::new(), on_change);
        self.remove_not_found(on_change);
    }

    /// Removes the directories that the walk did not find, provided that it could read everything.
    fn remove_not_found(&mut self, on_change: &mut dyn FnMut(Change)) {
        if self.partial {
            self.unwatched = true;
            return;
        }
        let missing = self.directories.iter().filter(|(_, directory)| directory.walk != self.walk);
        let missing: Vec<_> = missing.map(|(id, _)| *id).collect();
        missing.into_iter().for_each(|id| self.remove(id, on_change));
    }

    /// Applies the queued inotify events. If the queue overflowed, events were lost, so it walks instead.
    pub(super) fn apply_events(&mut self, on_change: &mut dyn FnMut(Change)) {
        loop {
            let (events, overflow) = self.inotify.read();
            if overflow {
                tracing::debug!("the inotify queue overflowed: walking all cgroups");
                return self.walk(on_change);
            }
            if events.is_empty() {
                return;
            }
            for event in events {
                self.apply(&event, on_change);
            }
        }
    }

    fn apply(&mut self, event: &InotifyEvent, on_change: &mut dyn FnMut(Change)) {
        let InotifyEvent { watch, flags, name } = event;
        if flags.contains(ReadFlags::IGNORED) {
            self.inotify.watches.remove(watch);
            return;
        }
        let parent = self.inotify.watches.get(watch).copied();
        let Some(parent) = parent.filter(|_| flags.contains(ReadFlags::ISDIR)) else { return };
        if flags.contains(ReadFlags::DELETE) {
            if let Some(id) = self.names.get(&(parent, Arc::from(name.as_os_str()))).copied() {
                self.remove(id, on_change);
            }
        } else if flags.contains(ReadFlags::CREATE)
            && let Some(path) = self.path(parent)
        {
            let path = path.join(name);
            // An error means that it has been removed meanwhile; then its id cannot be known.
            if let Ok(directory) = std::fs::symlink_metadata(self.root.join(&path)) {
                self.add_subtree(directory.ino(), parent, name, &path, on_change);
            }
        }
    }

    /// Adds a directory and all below it.
    fn add_subtree(&mut self, id: u64, parent: u64, name: &OsStr, path: &Path, on_change: &mut dyn FnMut(Change)) {
        if self.add(id, parent, name, path, on_change) {
            self.scan(id, path.to_owned(), on_change);
        }
    }

    /// Adds all directories below a known one.
    fn scan(&mut self, id: u64, path: PathBuf, on_change: &mut dyn FnMut(Change)) {
        let mut todo = vec![(id, path)];
        while let Some((parent, path)) = todo.pop() {
            let absolute = self.root.join(&path);
            // kernfs counts subdirectories as links (fs/kernfs/inode.c, kernfs_refresh_inode); most cgroups have none.
            let is_leaf = std::fs::metadata(&absolute).is_ok_and(|directory| directory.nlink() == 2);
            if is_leaf || path.components().count() >= MAX_DEPTH {
                continue;
            }
            let entries = match std::fs::read_dir(&absolute) {
                Ok(entries) => entries,
                Err(error) => {
                    // A removed directory is empty. One that denies access is treated as removed too: otherwise a user with
                    // a delegated cgroup could keep every other cgroup from ever expiring. `/proc` still finds the
                    // processes in it. After any other error the next walk tries again.
                    self.partial |= !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied);
                    continue;
                }
            };
            let directories =
                entries.filter_map(Result::ok).filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
            for entry in directories {
                let path = path.join(entry.file_name());
                if self.add(entry.ino(), parent, &entry.file_name(), &path, on_change) {
                    todo.push((entry.ino(), path));
                }
            }
        }
    }

    /// Adds a directory unless the tree is full. Returns whether it is in the tree. The watch is placed before its
    /// subdirectories are read, so none is missed.
    fn add(&mut self, id: u64, parent: u64, name: &OsStr, path: &Path, on_change: &mut dyn FnMut(Change)) -> bool {
        // cgroup ids are unique, but outside of kernfs inode numbers are reused.
        if self.directories.get(&id).is_some_and(|known| known.parent != parent || *known.name != *name) {
            self.remove(id, on_change);
        }
        if let Some(known) = self.directories.get_mut(&id) {
            known.walk = self.walk;
            if known.watch.is_none() {
                let watch = self.watch(&self.root.join(path), id);
                self.directories.entry(id).and_modify(|known| known.watch = watch);
            }
            return true;
        }
        if self.directories.len() >= self.max_directories {
            self.unwatched = true;
            return false;
        }
        let watch = self.watch(&self.root.join(path), id);
        let name: Arc<OsStr> = name.into();
        self.names.insert((parent, Arc::clone(&name)), id);
        self.directories.insert(id, Directory { parent, name, watch, walk: self.walk });
        on_change(Change::Added { id, parent, path: format!("/{}", path.to_string_lossy()) });
        true
    }

    fn remove(&mut self, id: u64, on_change: &mut dyn FnMut(Change)) {
        let Some(Directory { parent, name, watch, .. }) = self.directories.remove(&id) else { return };
        if self.names.get(&(parent, Arc::clone(&name))) == Some(&id) {
            self.names.remove(&(parent, name));
        }
        if let Some(watch) = watch {
            self.inotify.remove(watch);
        }
        on_change(Change::Removed(id));
    }

    fn watch(&mut self, path: &Path, id: u64) -> Option<i32> {
        match self.inotify.add(path, id) {
            Ok(watch) => watch,
            Err(reason) => {
                if let NotWatched::Refused(error) = reason
                    && !self.unwatched
                {
                    tracing::debug!("cgroups are found by periodic walks: {}: {error}", path.display());
                }
                self.unwatched = true;
                None
            }
        }
    }

    /// A directory's path from the root.
    fn path(&self, mut id: u64) -> Option<PathBuf> {
        let mut names = Vec::new();
        while id != self.root_id {
            let directory = self.directories.get(&id).filter(|_| names.len() < MAX_DEPTH)?;
            names.push(Arc::clone(&directory.name));
            id = directory.parent;
        }
        Some(names.iter().rev().map(|name| Path::new(&**name)).collect())
    }

    /// The root's id.
    pub(super) fn root_id(&self) -> u64 {
        self.root_id
    }

    /// Number of known directories.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.directories.len()
    }
}

#[cfg(test)]
mod tests;
