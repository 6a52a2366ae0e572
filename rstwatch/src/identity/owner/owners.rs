//! Who answers whose a connection was: at once, from memory.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::Notify;

use super::cache::{Cache, Found};
use super::path::{Place, Runtime};
use super::pods::{Lookup, Pod, Pods};
use super::{shown, worker};
use crate::kernel::mounts::Mounts;
use rstwatch_verdict::event::{Process, Workload, WorkloadKind};
use rstwatch_verdict::identity::Identity;

/// Most owners that wait to be looked up. Beyond, an owner is not asked for, and its event stays with its process.
const MOST_ASKED: usize = 1024;
/// Hexadecimal digits of a container's id that tools show.
const SHORT_ID: usize = 12;
/// What pods are called that do not want to be named.
const OPTED_OUT: &str = "_opted_out";

/// As what an owner was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A pod by its name, or one that wants none.
    Pod,
    /// A container, where nobody knows of pods.
    Container,
    /// A systemd unit.
    Unit,
    /// A bare process.
    Process,
    /// Its cgroup or its pod was not known when the event left.
    Unresolved,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Pod, Self::Container, Self::Unit, Self::Process, Self::Unresolved];

    /// The label's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Unit => "unit",
            Self::Process => "process",
            Self::Unresolved => "unresolved",
        }
    }
}

/// Names owners. Clones share one thread, which ends with the last of them.
#[derive(Clone)]
pub struct Owners(Arc<Guard>);

/// What the handles and the thread share.
pub(super) struct Shared {
    pub(super) cache: Arc<Cache>,
    pods: Option<Arc<dyn Pods>>,
    counts: [AtomicU64; Outcome::ALL.len()],
    asked: Mutex<VecDeque<Identity>>,
    /// Wakes the thread.
    pub(super) wake: OwnedFd,
    pub(super) stop: AtomicBool,
    /// Wakes who waits for answers: the event loop, and threads that may wait.
    news: Notify,
    answers: (Mutex<u64>, Condvar),
    answered: AtomicU64,
}

struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.wake();
    }
}

impl Owners {
    /// Begins to look at cgroups, on a thread of its own. `pods`: who knows them by name.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(pods: Option<Arc<dyn Pods>>) -> std::io::Result<Self> {
        Self::start_at("/proc".into(), pods)
    }

    /// The same, where /proc is elsewhere.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start_at(proc: PathBuf, pods: Option<Arc<dyn Pods>>) -> std::io::Result<Self> {
        let mounts = Mounts::read(&proc);
        let shared = Arc::new(Shared::new(Cache::new(mounts.v1), pods)?);
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("owners".into()).spawn(move || worker::run(&theirs, &proc, mounts.unified))?;
        Ok(Self(Arc::new(Guard(shared))))
    }

    /// With what a cache knows, and nobody to ask.
    #[cfg(test)]
    pub(super) fn of_cache(cache: Arc<Cache>, pods: Option<Arc<dyn Pods>>) -> Self {
        let shared = Shared { cache, ..Shared::new(Cache::default(), pods).expect("a descriptor") };
        Self(Arc::new(Guard(Arc::new(shared))))
    }

    /// As if its thread had answered.
    #[cfg(test)]
    pub(super) fn tell(&self) {
        self.0.0.tell();
    }

    /// Whose it is; `None`: not yet known, though it may be in a moment. Asks for it then.
    pub(super) fn name(&self, key: &Identity, process: Option<&Process>) -> Option<(Option<Workload>, Outcome)> {
        match self.0.0.cache.find(key) {
            Found::NotAsked => {
                self.ask(key);
                None
            }
            found => Some(self.named(&found, process)),
        }
    }

    /// Whose it is, as far as it is known now.
    pub(super) fn name_now(&self, key: &Identity, process: Option<&Process>) -> (Option<Workload>, Outcome) {
        self.named(&self.0.0.cache.find(key), process)
    }

    /// Names listeners: each one's owner and its workload, of which only the process is known. Waits a moment for those that
    /// are not known yet, so this is not for the event loop.
    pub fn name_all<'a>(
        &self,
        owners: impl Iterator<Item = (&'a Identity, &'a mut Option<Workload>)>,
        patience: Duration,
    ) {
        let mut unknown = Vec::new();
        for (key, workload) in owners {
            match self.name(key, None) {
                Some((named, _)) => replace(workload, named),
                None => unknown.push((key, workload)),
            }
        }
        let keys: Vec<_> = unknown.iter().map(|(key, _)| **key).collect();
        self.await_answers(&keys, patience);
        for (key, workload) in unknown {
            replace(workload, self.name_now(key, None).0);
        }
    }

    /// Waits until all of them are answered, or that long.
    pub(super) fn await_answers(&self, keys: &[Identity], patience: Duration) {
        let until = Instant::now() + patience;
        let mut keys = keys.to_vec();
        let (lock, changed) = &self.0.0.answers;
        loop {
            let before = *lock.lock().unwrap_or_else(PoisonError::into_inner);
            keys.retain(|key| self.0.0.cache.find(key) == Found::NotAsked);
            let left = until.saturating_duration_since(Instant::now());
            if keys.is_empty() || left.is_zero() {
                return;
            }
            // More may wait than can be asked for at once.
            keys.iter().for_each(|key| self.ask(key));
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            _ = changed.wait_timeout_while(guard, left, |answers| *answers == before);
        }
    }

    /// Resolves once the thread has answered something.
    pub(super) async fn news(&self) {
        self.0.0.news.notified().await;
    }

    /// Grows with each batch of answers.
    pub(super) fn answered(&self) -> u64 {
        self.0.0.answered.load(Ordering::Acquire)
    }

    /// Counts an event's owner, once.
    pub(super) fn count(&self, outcome: Outcome) {
        self.0.0.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Owners of events so far.
    pub fn counts(&self) -> [(Outcome, u64); Outcome::ALL.len()] {
        Outcome::ALL.map(|outcome| (outcome, self.0.0.counts[outcome as usize].load(Ordering::Relaxed)))
    }

    /// How many cgroups and processes are known.
    pub fn known(&self) -> (usize, usize) {
        self.0.0.cache.len()
    }

    fn ask(&self, key: &Identity) {
        let mut asked = self.0.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() < MOST_ASKED && !asked.contains(key) {
            asked.push_back(*key);
            drop(asked);
            self.0.0.wake();
        }
    }

    fn named(&self, found: &Found, process: Option<&Process>) -> (Option<Workload>, Outcome) {
        let bare = || process.map(rstwatch_verdict::identity::workload);
        match found {
            Found::Place(place) => match &**place {
                Place::Container { runtime, id, pod } => self.container(*runtime, id, pod.as_ref()),
                Place::Pod(uid) => match self.lookup(Some(uid), None) {
                    Some(Lookup::Pod(pod)) => (Some(pod_workload(&pod, None)), Outcome::Pod),
                    Some(Lookup::OptedOut) => (Some(opted_out()), Outcome::Pod),
                    Some(Lookup::Unknown) => (bare(), Outcome::Unresolved),
                    None => (bare(), Outcome::Process),
                },
                Place::Unit(name) => (Some(plain(WorkloadKind::Unit, shown(name))), Outcome::Unit),
                Place::Nothing => (bare(), Outcome::Process),
            },
            Found::Nowhere => (bare(), Outcome::Process),
            Found::Unknown | Found::NotAsked => (bare(), Outcome::Unresolved),
        }
    }

    fn container(&self, runtime: Runtime, id: &Arc<str>, uid: Option<&Arc<str>>) -> (Option<Workload>, Outcome) {
        let of_kubelet = uid.is_some() || matches!(runtime, Runtime::Crio | Runtime::Kubernetes);
        let outcome = match self.lookup(uid, Some(id)) {
            Some(Lookup::Pod(pod)) => return (Some(pod_workload(&pod, Some(id))), Outcome::Pod),
            Some(Lookup::OptedOut) => return (Some(opted_out()), Outcome::Pod),
            Some(Lookup::Unknown) if of_kubelet => Outcome::Unresolved,
            Some(Lookup::Unknown) | None => Outcome::Container,
        };
        let name = if id.len() == 64 { id.get(..SHORT_ID).unwrap_or(id).to_owned() } else { shown(id) };
        (Some(Workload { container: Some(shown(id)), ..plain(WorkloadKind::Container, name) }), outcome)
    }

    fn lookup(&self, uid: Option<&Arc<str>>, container: Option<&Arc<str>>) -> Option<Lookup> {
        let pods = self.0.0.pods.as_ref()?;
        Some(pods.find(uid.map(|uid| &**uid), container.map(|id| &**id)))
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").field("known", &self.known()).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(cache: Cache, pods: Option<Arc<dyn Pods>>) -> std::io::Result<Self> {
        Ok(Self {
            cache: Arc::new(cache),
            pods,
            counts: Default::default(),
            asked: Mutex::default(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stop: AtomicBool::new(false),
            news: Notify::new(),
            answers: (Mutex::new(0), Condvar::new()),
            answered: AtomicU64::new(0),
        })
    }

    fn wake(&self) {
        // It fails only where 2^64 wakes are pending.
        _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// What has been asked for since.
    pub(super) fn take_asked(&self) -> VecDeque<Identity> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells who waits that there are answers.
    pub(super) fn tell(&self) {
        self.answered.fetch_add(1, Ordering::Release);
        *self.answers.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.answers.1.notify_all();
        self.news.notify_one();
    }
}

/// What was known of it stays where nothing more is.
fn replace(workload: &mut Option<Workload>, named: Option<Workload>) {
    if named.is_some() {
        *workload = named;
    }
}

fn plain(kind: WorkloadKind, name: String) -> Workload {
    Workload { kind, namespace: None, name, container: None, controller: None }
}

fn opted_out() -> Workload {
    plain(WorkloadKind::Pod, OPTED_OUT.to_owned())
}

/// A container that the API does not list (a pod's sandbox, or one just begun) is named by its id.
fn pod_workload(pod: &Pod, container: Option<&Arc<str>>) -> Workload {
    let container = container.map(|id| {
        let listed = pod.containers.iter().find(|(known, _)| known == id);
        shown(listed.map_or(id, |(_, name)| name))
    });
    let controller = pod
        .controller
        .as_ref()
        .map(|it| rstwatch_verdict::event::Controller { kind: shown(&it.kind), name: shown(&it.name) });
    Workload {
        namespace: Some(shown(&pod.namespace)),
        container,
        controller,
        ..plain(WorkloadKind::Pod, shown(&pod.name))
    }
}

#[cfg(test)]
mod tests;
