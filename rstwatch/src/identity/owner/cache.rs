//! The bounded cache of cgroups and processes. The event loop reads it; only the worker thread writes it.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use foldhash::HashMap;

use super::path::CgroupOwner;
use rstwatch_verdict::identity::Identity;

/// How long a removed cgroup still resolves. A container's resets may be read after it has exited.
pub(super) const RETENTION: Duration = Duration::from_secs(300);
/// Maximum number of removed cgroups that still resolve; beyond it, the oldest are evicted.
const MAX_REMOVED: usize = 8192;
/// Maximum number of processes read from `/proc`; beyond it, the oldest are evicted.
const MAX_TASKS: usize = 8192;

/// Process id and start time. PIDs are reused; the pair is unique.
type TaskId = (u32, u64);

/// The result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// A container, pod or unit.
    Owner(Arc<CgroupOwner>),
    /// None of these, according to the cgroup.
    Unmanaged,
    /// Neither the cgroup nor the process is known. They may be gone.
    Unknown,
    /// `/proc` has not been read for this process yet.
    Pending,
}

/// Cgroups by id, and processes by id and start time. The writer takes a lock for one entry at a time.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Whether cgroup v1 controllers are mounted. If so, the v2 path may not name the container.
    pub(super) v1: bool,
    cgroups: RwLock<HashMap<u64, Arc<CgroupOwner>>>,
    tasks: RwLock<HashMap<TaskId, Option<Arc<CgroupOwner>>>>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    // A panic cannot leave an entry half written.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    pub(super) fn new(v1: bool) -> Self {
        Self { v1, ..Self::default() }
    }

    /// Resolves an owner. The process's cgroup takes precedence over the socket's, because a process may have inherited its
    /// socket from another one. `/proc` is consulted if the process's cgroup is unknown, and on hosts with cgroup v1, where a
    /// v1 hierarchy may name the container. The socket's cgroup is the last resort.
    pub(super) fn resolve(&self, key: &Identity) -> Resolution {
        let (process_cgroup, socket_cgroup) = {
            let cgroups = read(&self.cgroups);
            match cgroups.get(&key.cgroup) {
                Some(owner) if owner.is_container() || !self.v1 => return resolution(owner),
                owner => (owner.cloned(), cgroups.get(&key.socket).cloned()),
            }
        };
        let task = if key.tgid == 0 { None } else { read(&self.tasks).get(&(key.tgid, key.start_ns)).cloned() };
        let from_proc = match task {
            None if key.tgid != 0 => return Resolution::Pending,
            task => task.flatten(),
        };
        let best = match (from_proc, process_cgroup) {
            (Some(from_proc), Some(owner)) if owner.rank() >= from_proc.rank() => Some(owner),
            (from_proc, process_cgroup) => from_proc.or(process_cgroup).or(socket_cgroup),
        };
        best.as_ref().map_or(Resolution::Unknown, resolution)
    }

    pub(super) fn contains_cgroup(&self, id: u64) -> bool {
        read(&self.cgroups).contains_key(&id)
    }

    /// Number of cgroups and of processes in the cache.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (read(&self.cgroups).len(), read(&self.tasks).len())
    }
}

fn resolution(owner: &Arc<CgroupOwner>) -> Resolution {
    if **owner == CgroupOwner::Unmanaged { Resolution::Unmanaged } else { Resolution::Owner(Arc::clone(owner)) }
}

/// The only writer of a [`Cache`]. Tracks the order in which entries are evicted.
#[derive(Debug)]
pub(super) struct CacheWriter {
    cache: Arc<Cache>,
    /// Removed cgroups, oldest first.
    removed: VecDeque<(Instant, u64)>,
    /// Processes, oldest first.
    task_order: VecDeque<TaskId>,
}

impl CacheWriter {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        Self { cache, removed: VecDeque::new(), task_order: VecDeque::new() }
    }

    /// Inserts a cgroup. If a child has its parent's owner, both share the allocation.
    pub(super) fn insert_cgroup(&mut self, id: u64, parent: u64, owner: CgroupOwner) {
        let parent = read(&self.cache.cgroups).get(&parent).filter(|known| ***known == owner).cloned();
        let owner = parent.unwrap_or_else(|| Arc::new(owner));
        let replaced = write(&self.cache.cgroups).insert(id, owner);
        // inotify reports removals by name, so a removal recorded for this id may belong to an earlier cgroup of that name.
        if replaced.is_some() {
            self.removed.retain(|(_, removed)| *removed != id);
        }
    }

    /// Records that a cgroup was removed; its entry expires after [`RETENTION`]. Ids are not reused, so if the id is inserted
    /// again, the removal was that of another cgroup and is cancelled.
    pub(super) fn remove_cgroup(&mut self, id: u64, now: Instant) {
        self.removed.push_back((now, id));
        if self.removed.len() > MAX_REMOVED {
            self.evict_oldest();
        }
    }

    /// Inserts the owner that `/proc` shows for a process; `None` if the process has exited.
    pub(super) fn insert_task(&mut self, key: &Identity, owner: Option<CgroupOwner>) {
        let task = (key.tgid, key.start_ns);
        if write(&self.cache.tasks).insert(task, owner.map(Arc::new)).is_none() {
            self.task_order.push_back(task);
        }
        if self.task_order.len() > MAX_TASKS
            && let Some(first) = self.task_order.pop_front()
        {
            write(&self.cache.tasks).remove(&first);
        }
    }

    /// Evicts cgroups that were removed at least [`RETENTION`] ago.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.removed.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= RETENTION) {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        if let Some((_, id)) = self.removed.pop_front() {
            write(&self.cache.cgroups).remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> CgroupOwner {
        CgroupOwner::Unit(name.into())
    }

    fn writer(v1: bool) -> CacheWriter {
        CacheWriter::new(Arc::new(Cache::new(v1)))
    }

    fn key(cgroup: u64, socket: u64, tgid: u32) -> Identity {
        Identity { cgroup, socket, tgid, start_ns: 7 }
    }

    #[track_caller]
    fn assert_resolves(writer: &CacheWriter, key: Identity, name: &str) {
        assert_eq!(writer.cache.resolve(&key), Resolution::Owner(Arc::new(unit(name))));
    }

    #[test]
    fn the_cgroup_of_the_process_takes_precedence() {
        let mut writer = writer(false);
        writer.insert_cgroup(10, 1, unit("nginx.service"));
        writer.insert_cgroup(11, 1, unit("systemd.socket"));
        writer.insert_cgroup(1, 1, CgroupOwner::Unmanaged);
        assert_resolves(&writer, key(10, 11, 5), "nginx.service");
        assert_eq!(writer.cache.resolve(&key(1, 11, 5)), Resolution::Unmanaged, "a known cgroup needs no /proc");
        assert_eq!(writer.cache.resolve(&key(0, 11, 5)), Resolution::Pending, "/proc has not been read yet");
        writer.insert_task(&key(0, 0, 5), Some(unit("cron.service")));
        assert_resolves(&writer, key(0, 11, 5), "cron.service");
        assert_eq!(
            writer.cache.resolve(&Identity { start_ns: 8, ..key(0, 0, 5) }),
            Resolution::Pending,
            "another process with that PID"
        );
        writer.insert_task(&key(0, 0, 6), None);
        assert_resolves(&writer, key(0, 11, 6), "systemd.socket");
        assert_resolves(&writer, key(99, 11, 0), "systemd.socket");
        assert_eq!(writer.cache.resolve(&key(99, 0, 6)), Resolution::Unknown);
    }

    /// Docker with the cgroupfs driver on a hybrid host: the v2 path says docker.service, only v1 names the container.
    #[test]
    fn proc_names_the_container_on_cgroup_v1() {
        let mut writer = writer(true);
        writer.insert_cgroup(10, 1, unit("docker.service"));
        writer.insert_cgroup(1, 1, CgroupOwner::Unmanaged);
        assert_eq!(writer.cache.resolve(&key(10, 0, 5)), Resolution::Pending);
        let container =
            CgroupOwner::Container { runtime: super::super::path::Runtime::Docker, id: "a".into(), pod: None };
        writer.insert_task(&key(0, 0, 5), Some(container.clone()));
        assert_eq!(writer.cache.resolve(&key(10, 0, 5)), Resolution::Owner(Arc::new(container.clone())));
        writer.insert_task(&key(0, 0, 6), Some(unit("system.slice")));
        assert_resolves(&writer, key(10, 0, 6), "docker.service");
        writer.insert_task(&key(0, 0, 7), None);
        assert_resolves(&writer, key(10, 0, 7), "docker.service");
        assert_eq!(writer.cache.resolve(&key(1, 0, 7)), Resolution::Unmanaged);
        writer.insert_cgroup(12, 1, container);
        assert!(
            matches!(writer.cache.resolve(&key(12, 0, 99)), Resolution::Owner(_)),
            "a container's cgroup needs no /proc"
        );
    }

    #[test]
    fn removed_cgroups_resolve_for_five_minutes() {
        let mut writer = writer(false);
        let start = Instant::now();
        writer.insert_cgroup(10, 1, unit("a.service"));
        writer.remove_cgroup(10, start);
        writer.expire(start + RETENTION - Duration::from_millis(1));
        assert_resolves(&writer, key(10, 0, 0), "a.service");
        writer.expire(start + RETENTION);
        assert_eq!(writer.cache.resolve(&key(10, 0, 0)), Resolution::Unknown);
    }

    /// When a walk finds a new cgroup, the inotify queue may still hold the removal of an earlier one with the same name.
    #[test]
    fn reinsertion_cancels_a_removal() {
        let mut writer = writer(false);
        let start = Instant::now();
        writer.insert_cgroup(10, 1, unit("a.service"));
        writer.remove_cgroup(10, start);
        writer.insert_cgroup(10, 1, unit("a.service"));
        writer.expire(start + 2 * RETENTION);
        assert_resolves(&writer, key(10, 0, 0), "a.service");
        assert!(writer.removed.is_empty());
        writer.remove_cgroup(10, start + 2 * RETENTION);
        writer.expire(start + 3 * RETENTION);
        assert_eq!(writer.cache.resolve(&key(10, 0, 0)), Resolution::Unknown, "a later removal still takes effect");
    }

    #[test]
    fn cgroups_and_processes_are_bounded() {
        let mut writer = writer(false);
        let now = Instant::now();
        for id in 1..=100_000_u64 {
            writer.insert_cgroup(id, 0, unit("a.service"));
            writer.remove_cgroup(id, now);
            let tgid = u32::try_from(id).expect("small");
            writer.insert_task(&key(0, 0, tgid), None);
            writer.insert_task(&key(0, 0, tgid), None);
        }
        assert_eq!(writer.cache.sizes(), (MAX_REMOVED, MAX_TASKS));
        assert_eq!((writer.removed.len(), writer.task_order.len()), (MAX_REMOVED, MAX_TASKS));
        assert_resolves(&writer, key(100_000, 0, 0), "a.service");
    }

    #[test]
    fn children_share_their_parents_allocation() {
        let mut writer = writer(false);
        writer.insert_cgroup(10, 1, unit("a.service"));
        writer.insert_cgroup(11, 10, unit("a.service"));
        let cgroups = read(&writer.cache.cgroups);
        assert!(Arc::ptr_eq(&cgroups[&10], &cgroups[&11]));
    }
}
