//! The worker thread: follows the cgroup hierarchy and reads `/proc` for the processes that were requested.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cache::{CacheWriter, Resolution};
use super::path::{CgroupOwner, parse};
use super::shared::Shared;
use super::tasks::{self, Clocks};
use super::tree::{Change, Tree};
use crate::kernel::clock::thread_time;
use rstwatch_verdict::identity::Identity;

/// Shortest interval between walks, which run only if inotify misses changes.
const WALK_INTERVAL: Duration = Duration::from_secs(1);
/// Walks use at most 1/`WALK_SHARE` of a CPU's time: 1 %.
const WALK_SHARE: u32 = 100;
/// Longest wait, so that removed cgroups expire on time.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Inode number of the root of the whole hierarchy.
const ROOT: u64 = 1;

/// Runs until `shared.stop` is set.
pub(super) fn run(shared: &Shared, proc: &Path, unified: Option<PathBuf>) {
    let mut worker = Worker {
        writer: CacheWriter::new(Arc::clone(&shared.cache)),
        tree: unified.map(Tree::new),
        next_walk: Instant::now(),
        started: Clocks::now(),
    };
    worker.insert_root();
    worker.walk();
    shared.notify();
    while !shared.stop.load(Ordering::Acquire) {
        worker.wait(shared);
        worker.apply_events();
        let requests = shared.take_requests();
        requests.iter().for_each(|key| worker.resolve(key, shared, proc));
        worker.walk_if_due();
        worker.writer.expire(Instant::now());
        shared.notify();
    }
}

struct Worker {
    writer: CacheWriter,
    tree: Option<Tree>,
    /// The earliest time of the next walk, if walks are needed.
    next_walk: Instant,
    started: Clocks,
}

impl Worker {
    fn insert_root(&mut self) {
        if let Some(tree) = self.tree.as_ref().filter(|tree| tree.root_id() == ROOT) {
            self.writer.insert_cgroup(tree.root_id(), 0, CgroupOwner::Unmanaged);
        }
    }

    /// Waits for inotify events, requests, or the next walk.
    fn wait(&self, shared: &Shared) {
        let walks = self.tree.as_ref().is_some_and(Tree::needs_walks);
        let timeout =
            if walks { self.next_walk.saturating_duration_since(Instant::now()).min(MAX_WAIT) } else { MAX_WAIT };
        let mut ready = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        let events = self.tree.as_ref().and_then(Tree::event_fd);
        ready.extend(events.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // A signal merely ends the wait early. The conversion cannot fail for so short a time.
        _ = poll(&mut ready, Timespec::try_from(timeout).ok().as_ref());
        // Resets the eventfd; the requests are taken next, whether or not it was set.
        _ = rustix::io::read(&shared.wake, &mut [0; 8]);
    }

    fn apply_events(&mut self) {
        let Self { writer, tree: Some(tree), .. } = self else { return };
        tree.apply_events(&mut |change| apply(writer, change));
    }

    fn walk_if_due(&mut self) {
        if self.tree.as_ref().is_some_and(Tree::needs_walks) && Instant::now() >= self.next_walk {
            self.walk();
        }
    }

    fn walk(&mut self) {
        let Self { writer, tree: Some(tree), .. } = self else { return };
        let start = thread_time();
        tree.walk(&mut |change| apply(writer, change));
        let pause = thread_time().saturating_sub(start) * WALK_SHARE;
        self.next_walk = Instant::now() + WALK_INTERVAL.max(pause);
    }

    /// Resolves one owner. If inotify may have missed its cgroup, walks the hierarchy (if due) before it reads `/proc`.
    fn resolve(&mut self, key: &Identity, shared: &Shared, proc: &Path) {
        if shared.cache.resolve(key) != Resolution::Pending {
            return;
        }
        if key.cgroup != 0 && !shared.cache.contains_cgroup(key.cgroup) {
            self.walk_if_due();
        }
        if shared.cache.resolve(key) == Resolution::Pending {
            self.writer.insert_task(key, tasks::read(proc, key.tgid, key.start_ns, self.started));
        }
    }
}

fn apply(writer: &mut CacheWriter, change: Change) {
    match change {
        Change::Added { id, parent, path } => writer.insert_cgroup(id, parent, parse(&path)),
        Change::Removed(id) => writer.remove_cgroup(id, Instant::now()),
    }
}
