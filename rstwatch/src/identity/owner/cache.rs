//! What is known of cgroups and processes: read by the event loop, written by the one thread that asks. Bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::path::Place;
use rstwatch_verdict::identity::Identity;

/// Cgroups that are gone are known for so long: a reset may be seen after its container.
pub(super) const REMEMBER: Duration = Duration::from_secs(300);
/// Most cgroups that are gone and still known; the oldest leave first.
const MOST_GONE: usize = 8192;
/// Most processes that are known by `/proc`; those first asked for leave first.
const MOST_TASKS: usize = 8192;

/// Tells one process from all others.
type TaskId = (u32, u64);

/// What is found of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It lives there.
    Place(Arc<Place>),
    /// Nowhere in particular, as far as can be known.
    Nowhere,
    /// Its cgroup is not known, nor its process: both may be gone.
    Unknown,
    /// `/proc` has not been asked.
    NotAsked,
}

/// Both maps. A reader waits for a writer no longer than one entry takes.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Controllers of version 1 are mounted here: a version 2 path may not tell the container.
    pub(super) v1: bool,
    cgroups: RwLock<HashMap<u64, Arc<Place>>>,
    tasks: RwLock<HashMap<TaskId, Option<Arc<Place>>>>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    // An entry is written whole or not at all.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    pub(super) fn new(v1: bool) -> Self {
        Self { v1, ..Self::default() }
    }

    /// The owner's cgroup decides: the socket's may be that of who made it for another. What `/proc` says counts where that is
    /// not known, and on hosts with version 1, where the container may stand in other hierarchies. The socket's own is the
    /// last resort.
    pub(super) fn find(&self, key: &Identity) -> Found {
        let (owners, sockets) = {
            let cgroups = read(&self.cgroups);
            match cgroups.get(&key.cgroup) {
                Some(place) if place.is_container() || !self.v1 => return known(place),
                owners => (owners.cloned(), cgroups.get(&key.socket).cloned()),
            }
        };
        let asked = if key.tgid == 0 { None } else { read(&self.tasks).get(&(key.tgid, key.start_ns)).cloned() };
        let told = match asked {
            None if key.tgid != 0 => return Found::NotAsked,
            told => told.flatten(),
        };
        let best = match (told, owners) {
            (Some(told), Some(place)) if place.rank() >= told.rank() => Some(place),
            (told, owners) => told.or(owners).or(sockets),
        };
        best.as_ref().map_or(Found::Unknown, known)
    }

    pub(super) fn knows_cgroup(&self, id: u64) -> bool {
        read(&self.cgroups).contains_key(&id)
    }

    /// How many cgroups and processes are known.
    pub(super) fn len(&self) -> (usize, usize) {
        (read(&self.cgroups).len(), read(&self.tasks).len())
    }
}

fn known(place: &Arc<Place>) -> Found {
    if **place == Place::Nothing { Found::Nowhere } else { Found::Place(Arc::clone(place)) }
}

/// The writer's side: the cache, and in which order things leave it.
#[derive(Debug)]
pub(super) struct Keeper {
    cache: Arc<Cache>,
    gone: VecDeque<(Instant, u64)>,
    asked: VecDeque<TaskId>,
}

impl Keeper {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        Self { cache, gone: VecDeque::new(), asked: VecDeque::new() }
    }

    /// A cgroup and where it stands. What lives in the same place as its parent shares it.
    pub(super) fn came(&mut self, id: u64, parent: u64, place: Place) {
        let parent = read(&self.cache.cgroups).get(&parent).filter(|known| ***known == place).cloned();
        let place = parent.unwrap_or_else(|| Arc::new(place));
        let before = write(&self.cache.cgroups).insert(id, place);
        // inotify tells of an end by name: that of one before it may have been taken for its own.
        if before.is_some() {
            self.gone.retain(|(_, gone)| *gone != id);
        }
    }

    /// A cgroup is gone; its id is not given again. Unless it is told of once more: then it was another's end.
    pub(super) fn went(&mut self, id: u64, now: Instant) {
        self.gone.push_back((now, id));
        if self.gone.len() > MOST_GONE {
            self.forget_first();
        }
    }

    /// `/proc` was asked for a process; `None`: it is not there any more.
    pub(super) fn told(&mut self, key: &Identity, place: Option<Place>) {
        let task = (key.tgid, key.start_ns);
        if write(&self.cache.tasks).insert(task, place.map(Arc::new)).is_none() {
            self.asked.push_back(task);
        }
        if self.asked.len() > MOST_TASKS
            && let Some(first) = self.asked.pop_front()
        {
            write(&self.cache.tasks).remove(&first);
        }
    }

    /// Forgets what is gone for long enough.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.gone.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= REMEMBER) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.gone.pop_front() {
            write(&self.cache.cgroups).remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> Place {
        Place::Unit(name.into())
    }

    fn keeper(v1: bool) -> Keeper {
        Keeper::new(Arc::new(Cache::new(v1)))
    }

    fn key(cgroup: u64, socket: u64, tgid: u32) -> Identity {
        Identity { cgroup, socket, tgid, start_ns: 7 }
    }

    #[track_caller]
    fn finds(keeper: &Keeper, key: Identity, name: &str) {
        assert_eq!(keeper.cache.find(&key), Found::Place(Arc::new(unit(name))));
    }

    #[test]
    fn the_owners_cgroup_decides() {
        let mut keeper = keeper(false);
        keeper.came(10, 1, unit("nginx.service"));
        keeper.came(11, 1, unit("systemd.socket"));
        keeper.came(1, 1, Place::Nothing);
        finds(&keeper, key(10, 11, 5), "nginx.service");
        assert_eq!(keeper.cache.find(&key(1, 11, 5)), Found::Nowhere, "the root tells enough");
        assert_eq!(keeper.cache.find(&key(0, 11, 5)), Found::NotAsked, "the owner's process may tell");
        keeper.told(&key(0, 0, 5), Some(unit("cron.service")));
        finds(&keeper, key(0, 11, 5), "cron.service");
        assert_eq!(
            keeper.cache.find(&Identity { start_ns: 8, ..key(0, 0, 5) }),
            Found::NotAsked,
            "another of that number"
        );
        keeper.told(&key(0, 0, 6), None);
        finds(&keeper, key(0, 11, 6), "systemd.socket");
        finds(&keeper, key(99, 11, 0), "systemd.socket");
        assert_eq!(keeper.cache.find(&key(99, 0, 6)), Found::Unknown);
    }

    /// Docker with the cgroupfs driver on a hybrid host: version 2 says docker.service.
    #[test]
    fn with_version_1_a_process_tells_more() {
        let mut keeper = keeper(true);
        keeper.came(10, 1, unit("docker.service"));
        keeper.came(1, 1, Place::Nothing);
        assert_eq!(keeper.cache.find(&key(10, 0, 5)), Found::NotAsked);
        let container = Place::Container { runtime: super::super::path::Runtime::Docker, id: "a".into(), pod: None };
        keeper.told(&key(0, 0, 5), Some(container.clone()));
        assert_eq!(keeper.cache.find(&key(10, 0, 5)), Found::Place(Arc::new(container.clone())));
        keeper.told(&key(0, 0, 6), Some(unit("system.slice")));
        finds(&keeper, key(10, 0, 6), "docker.service");
        keeper.told(&key(0, 0, 7), None);
        finds(&keeper, key(10, 0, 7), "docker.service");
        assert_eq!(keeper.cache.find(&key(1, 0, 7)), Found::Nowhere);
        keeper.came(12, 1, container);
        assert!(matches!(keeper.cache.find(&key(12, 0, 99)), Found::Place(_)), "a container is enough");
    }

    #[test]
    fn what_is_gone_is_known_for_five_minutes() {
        let mut keeper = keeper(false);
        let start = Instant::now();
        keeper.came(10, 1, unit("a.service"));
        keeper.went(10, start);
        keeper.forget(start + REMEMBER - Duration::from_millis(1));
        finds(&keeper, key(10, 0, 0), "a.service");
        keeper.forget(start + REMEMBER);
        assert_eq!(keeper.cache.find(&key(10, 0, 0)), Found::Unknown);
    }

    /// The queue may hold the end of one before it, of its name, when a walk finds it.
    #[test]
    fn what_comes_again_stays() {
        let mut keeper = keeper(false);
        let start = Instant::now();
        keeper.came(10, 1, unit("a.service"));
        keeper.went(10, start);
        keeper.came(10, 1, unit("a.service"));
        keeper.forget(start + 2 * REMEMBER);
        finds(&keeper, key(10, 0, 0), "a.service");
        assert!(keeper.gone.is_empty());
        keeper.went(10, start + 2 * REMEMBER);
        keeper.forget(start + 3 * REMEMBER);
        assert_eq!(keeper.cache.find(&key(10, 0, 0)), Found::Unknown, "its own end counts");
    }

    #[test]
    fn both_are_bounded() {
        let mut keeper = keeper(false);
        let now = Instant::now();
        for id in 1..=100_000_u64 {
            keeper.came(id, 0, unit("a.service"));
            keeper.went(id, now);
            let tgid = u32::try_from(id).expect("small");
            keeper.told(&key(0, 0, tgid), None);
            keeper.told(&key(0, 0, tgid), None);
        }
        assert_eq!(keeper.cache.len(), (MOST_GONE, MOST_TASKS));
        assert_eq!((keeper.gone.len(), keeper.asked.len()), (MOST_GONE, MOST_TASKS));
        finds(&keeper, key(100_000, 0, 0), "a.service");
    }

    #[test]
    fn children_in_the_same_place_share_it() {
        let mut keeper = keeper(false);
        keeper.came(10, 1, unit("a.service"));
        keeper.came(11, 10, unit("a.service"));
        let cgroups = read(&keeper.cache.cgroups);
        assert!(Arc::ptr_eq(&cgroups[&10], &cgroups[&11]));
    }
}
