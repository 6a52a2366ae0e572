//! The thread that looks: at the tree of cgroups, and at processes that were asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cache::{Found, Keeper};
use super::owners::Shared;
use super::path::{Place, parse};
use super::tasks::{self, Clocks};
use super::tree::{Change, Tree};
use crate::kernel::clock::thread_time;
use rstwatch_verdict::identity::Identity;

/// Between two walks, where folders come and go unheard.
const INTERVAL: Duration = Duration::from_secs(1);
/// Walks may take this part of a CPU's time: 1 %.
const SHARE: u32 = 100;
/// What is gone is forgotten on time within this.
const TIDY: Duration = Duration::from_secs(30);
/// Inode of the hierarchy's own root.
const ROOT: u64 = 1;

/// Works until it is told to stop.
pub(super) fn run(shared: &Shared, proc: &Path, unified: Option<PathBuf>) {
    let mut work = Work {
        keeper: Keeper::new(Arc::clone(&shared.cache)),
        tree: unified.map(Tree::new),
        next_walk: Instant::now(),
        began: Clocks::now(),
    };
    work.begin();
    shared.tell();
    while !shared.stop.load(Ordering::Acquire) {
        work.wait(shared);
        work.hear();
        let asked = shared.take_asked();
        asked.iter().for_each(|key| work.answer(key, shared, proc));
        work.walk_if_due();
        work.keeper.forget(Instant::now());
        shared.tell();
    }
}

struct Work {
    keeper: Keeper,
    tree: Option<Tree>,
    /// No sooner, where walks are needed.
    next_walk: Instant,
    began: Clocks,
}

impl Work {
    fn begin(&mut self) {
        if let Some(tree) = self.tree.as_ref().filter(|tree| tree.root_id() == ROOT) {
            self.keeper.came(tree.root_id(), 0, Place::Nothing);
        }
        self.walk();
    }

    /// Until folders come or go, somebody asks, or a walk is due.
    fn wait(&self, shared: &Shared) {
        let deaf = self.tree.as_ref().is_some_and(Tree::is_deaf);
        let until = if deaf { self.next_walk.saturating_duration_since(Instant::now()).min(TIDY) } else { TIDY };
        let mut ready = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        ready.extend(
            self.tree.as_ref().and_then(Tree::heard).map(|heard| PollFd::from_borrowed_fd(heard, PollFlags::IN)),
        );
        // A signal that ends it early is as good as news. The time is short, so it fits.
        _ = poll(&mut ready, Timespec::try_from(until).ok().as_ref());
        // Empty or not: what has been asked is looked at next.
        _ = rustix::io::read(&shared.wake, &mut [0; 8]);
    }

    fn hear(&mut self) {
        let Self { keeper, tree: Some(tree), .. } = self else { return };
        tree.hear(&mut |change| apply(keeper, change));
    }

    fn walk_if_due(&mut self) {
        if self.tree.as_ref().is_some_and(Tree::is_deaf) && Instant::now() >= self.next_walk {
            self.walk();
        }
    }

    fn walk(&mut self) {
        let Self { keeper, tree: Some(tree), .. } = self else { return };
        let began = thread_time();
        tree.walk(&mut |change| apply(keeper, change));
        let cost = thread_time().saturating_sub(began) * SHARE;
        self.next_walk = Instant::now() + INTERVAL.max(cost);
    }

    /// One owner. Its cgroup may have come unheard.
    fn answer(&mut self, key: &Identity, shared: &Shared, proc: &Path) {
        if shared.cache.find(key) != Found::NotAsked {
            return;
        }
        if key.cgroup != 0 && !shared.cache.knows_cgroup(key.cgroup) {
            self.walk_if_due();
        }
        if shared.cache.find(key) == Found::NotAsked {
            self.keeper.told(key, tasks::read(proc, key.tgid, key.start_ns, self.began));
        }
    }
}

fn apply(keeper: &mut Keeper, change: Change) {
    match change {
        Change::Came { id, parent, path } => keeper.came(id, parent, parse(&path)),
        Change::Went(id) => keeper.went(id, Instant::now()),
    }
}
