//! The handle that resolves owners: answers from the cache, and queues lookups for the worker thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cache::{Cache, Resolution};
use super::pods::Pods;
use super::shared::Shared;
use super::workload::workload;
use super::{Outcome, worker};
use crate::kernel::mounts::Mounts;
use rstwatch_verdict::event::{Process, Workload};
use rstwatch_verdict::identity::Identity;

/// Resolves owners. Clones share one worker thread, which ends when the last clone is dropped.
#[derive(Clone)]
pub struct Owners(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    pods: Option<Arc<dyn Pods>>,
    counts: [AtomicU64; Outcome::ALL.len()],
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Owners {
    /// Starts the worker thread. `pods` names the pods of this node.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(pods: Option<Arc<dyn Pods>>) -> std::io::Result<Self> {
        Self::start_at("/proc".into(), pods)
    }

    /// Starts the worker thread with another `/proc`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start_at(proc: PathBuf, pods: Option<Arc<dyn Pods>>) -> std::io::Result<Self> {
        let mounts = Mounts::read(&proc);
        let owners = Self::with_cache(Arc::new(Cache::new(mounts.v1)), pods)?;
        let shared = Arc::clone(&owners.0.shared);
        std::thread::Builder::new().name("owners".into()).spawn(move || worker::run(&shared, &proc, mounts.unified))?;
        Ok(owners)
    }

    /// Resolves from this cache, without a worker.
    pub(super) fn with_cache(cache: Arc<Cache>, pods: Option<Arc<dyn Pods>>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(cache)?);
        Ok(Self(Arc::new(Handle { shared, pods, counts: Default::default() })))
    }

    /// The state shared with the worker.
    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The owner's workload and what it counts as; `None` while a lookup is pending, which this queues.
    pub(super) fn name(&self, key: &Identity, process: Option<&Process>) -> Option<(Option<Workload>, Outcome)> {
        match self.shared().cache.resolve(key) {
            Resolution::Pending => {
                self.shared().request(key);
                None
            }
            resolution => Some(self.workload(&resolution, process)),
        }
    }

    /// The owner's workload as far as the cache knows it now.
    pub(super) fn name_now(&self, key: &Identity, process: Option<&Process>) -> (Option<Workload>, Outcome) {
        self.workload(&self.shared().cache.resolve(key), process)
    }

    /// Names the owners of listeners, of which only the process is known. Blocks until all lookups are done, or for the
    /// timeout, so the event loop must not call it.
    pub fn name_all<'a>(
        &self,
        owners: impl Iterator<Item = (&'a Identity, &'a mut Option<Workload>)>,
        timeout: Duration,
    ) {
        let mut pending = Vec::new();
        for (key, workload) in owners {
            match self.name(key, None) {
                Some((named, _)) => replace(workload, named),
                None => pending.push((key, workload)),
            }
        }
        let keys: Vec<_> = pending.iter().map(|(key, _)| **key).collect();
        self.shared().wait_for(&keys, timeout);
        for (key, workload) in pending {
            replace(workload, self.name_now(key, None).0);
        }
    }

    /// Counts an event's owner; call it once per event.
    pub(super) fn count(&self, outcome: Outcome) {
        self.0.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Events so far, by what their owner was resolved to.
    pub fn counts(&self) -> [(Outcome, u64); Outcome::ALL.len()] {
        Outcome::ALL.map(|outcome| (outcome, self.0.counts[outcome as usize].load(Ordering::Relaxed)))
    }

    /// Number of cgroups and of processes in the cache.
    pub fn cache_len(&self) -> (usize, usize) {
        self.shared().cache.sizes()
    }

    fn workload(&self, resolution: &Resolution, process: Option<&Process>) -> (Option<Workload>, Outcome) {
        workload(resolution, process, self.0.pods.as_deref())
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").field("cache_len", &self.cache_len()).finish_non_exhaustive()
    }
}

/// Keeps what was known before if there is no better name.
fn replace(workload: &mut Option<Workload>, named: Option<Workload>) {
    if named.is_some() {
        *workload = named;
    }
}

#[cfg(test)]
mod tests;
