//! The cache of this node's pods. A lookup never waits for the API.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::pod::WatchedPod;
use super::watch::Sink;
use crate::identity::owner::pods::{Lookup, Pod, Pods};

/// How long deleted objects still resolve: resets of their connections may be read after the deletion.
pub const RETENTION: Duration = Duration::from_secs(5 * 60);
/// Most existing pods; kubelets are designed for a few hundred.
pub const MAX_PODS: usize = 20_000;
/// Most deleted objects that still resolve; beyond it the oldest are evicted.
pub const MAX_DELETED: usize = 4_096;
/// Most replaced containers of a pod that still resolve.
const MAX_REPLACED: usize = 16;

/// Pods by uid, by container id, and by the hash of a static pod's manifest.
#[derive(Debug, Default)]
pub struct PodStore(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    pods: HashMap<Arc<str>, Entry>,
    /// Container ids and hashes of manifests, to uids.
    aliases: HashMap<Arc<str>, Arc<str>>,
    /// Deleted objects, oldest first.
    deleted: VecDeque<(Instant, Deleted)>,
    /// Number of existing pods.
    existing: usize,
    /// Pods not kept because the limit was reached.
    refused: u64,
    /// Number of lists begun.
    list: u64,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    opted_out: bool,
    config_hash: Option<Arc<str>>,
    /// Its replaced containers, and when each was replaced.
    replaced: Vec<(Instant, Arc<str>)>,
    /// When it was deleted.
    deleted: Option<Instant>,
    /// The last list when it was seen.
    list: u64,
}

#[derive(Debug)]
enum Deleted {
    Pod(Arc<str>),
    Container { uid: Arc<str> },
}

impl PodStore {
    /// Number of existing pods.
    pub fn len(&self) -> usize {
        self.read().existing
    }

    /// Whether no pod exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pods not kept so far because the limit was reached.
    pub fn refused(&self) -> u64 {
        self.read().refused
    }

    /// Number of pods, existing or deleted, of aliases, and of deleted objects. For tests of the limits.
    pub fn sizes(&self) -> [usize; 3] {
        let state = self.read();
        [state.pods.len(), state.aliases.len(), state.deleted.len()]
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pods for PodStore {
    fn find(&self, uid: Option<&str>, container: Option<&str>) -> Lookup {
        let state = self.read();
        let by_uid = uid.and_then(|uid| state.pods.get(uid).or_else(|| state.pods.get(state.aliases.get(uid)?)));
        let by_container = || state.pods.get(state.aliases.get(container?)?);
        match by_uid.or_else(by_container) {
            Some(entry) if entry.opted_out => Lookup::OptedOut,
            Some(entry) => Lookup::Pod(Arc::clone(&entry.pod)),
            None => Lookup::Unknown,
        }
    }
}

impl Sink for Arc<PodStore> {
    type Object = WatchedPod;

    fn begin_list(&mut self) {
        self.write().list += 1;
    }

    fn apply(&mut self, pod: WatchedPod, now: Instant) {
        self.write().apply(pod, now);
    }

    fn delete(&mut self, pod: WatchedPod, now: Instant) {
        if let Some(uid) = pod.uid {
            self.write().delete(&uid, now);
        }
    }

    fn complete_list(&mut self, now: Instant) {
        self.write().delete_unlisted(now);
    }

    fn expire(&mut self, now: Instant) {
        self.write().expire(now);
    }

    fn count(&self) -> usize {
        self.len()
    }
}

impl State {
    fn apply(&mut self, pod: WatchedPod, now: Instant) {
        let Some(uid) = pod.uid.clone() else { return };
        let before = self.pods.remove(&uid);
        let existed = before.as_ref().is_some_and(|entry| entry.deleted.is_none());
        if !existed && self.existing >= MAX_PODS {
            self.refused += 1;
            // Keep the deleted entry until it expires.
            self.pods.extend(before.map(|entry| (uid, entry)));
            return;
        }
        let mut entry = Entry {
            opted_out: pod.opted_out,
            config_hash: pod.config_hash.filter(|hash| !self.belongs_to_another(hash, &uid, &pod.pod)),
            pod: Arc::new(pod.pod),
            replaced: Vec::new(),
            deleted: None,
            list: self.list,
        };
        self.existing += usize::from(!existed);
        if let Some(before) = before {
            self.keep_replaced(&mut entry, before, &uid, now);
        }
        let ids = entry.pod.containers.iter().map(|(id, _)| id).chain(&entry.config_hash);
        for id in ids {
            self.aliases.insert(Arc::clone(id), Arc::clone(&uid));
        }
        self.pods.insert(uid, entry);
        self.enforce_limit();
    }

    /// Whether another existing pod has this hash. Names are unique, so a new pod of the same name replaces the old one.
    fn belongs_to_another(&self, hash: &str, uid: &str, pod: &Pod) -> bool {
        let holder = self.aliases.get(hash).filter(|holder| ***holder != *uid).and_then(|holder| self.pods.get(holder));
        holder
            .is_some_and(|it| it.deleted.is_none() && (&it.pod.namespace, &it.pod.name) != (&pod.namespace, &pod.name))
    }

    /// Keeps the containers that the pod no longer has until they expire.
    fn keep_replaced(&mut self, entry: &mut Entry, before: Entry, uid: &Arc<str>, now: Instant) {
        if let Some(hash) = before.config_hash.filter(|hash| entry.config_hash.as_ref() != Some(hash)) {
            self.remove_alias(&hash, uid);
        }
        if before.replaced.is_empty() && before.pod.containers == entry.pod.containers {
            // Share the strings.
            let pod = Arc::make_mut(&mut entry.pod);
            pod.containers.clone_from(&before.pod.containers);
            return;
        }
        let Pod { containers, .. } = Arc::make_mut(&mut entry.pod);
        let mut left: Vec<_> =
            before.pod.containers.iter().filter(|(id, _)| !containers.iter().any(|(other, _)| other == id)).collect();
        for (id, _) in left.split_off(left.len().min(MAX_REPLACED)) {
            self.aliases.remove(id);
        }
        for (id, name) in left {
            let replaced_at = before.replaced.iter().find(|(_, replaced)| replaced == id).map(|(at, _)| *at);
            entry.replaced.push((replaced_at.unwrap_or(now), Arc::clone(id)));
            if replaced_at.is_none() {
                self.deleted.push_back((now, Deleted::Container { uid: Arc::clone(uid) }));
            }
            containers.push((Arc::clone(id), Arc::clone(name)));
        }
    }

    fn delete(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(entry) = self.pods.get_mut(uid).filter(|entry| entry.deleted.is_none()) else { return };
        entry.deleted = Some(now);
        self.existing -= 1;
        self.deleted.push_back((now, Deleted::Pod(Arc::clone(uid))));
        self.enforce_limit();
    }

    /// After a complete list: deletes the pods that were neither in it nor seen since.
    fn delete_unlisted(&mut self, now: Instant) {
        let unlisted = self.pods.iter().filter(|(_, entry)| entry.deleted.is_none() && entry.list < self.list);
        for uid in unlisted.map(|(uid, _)| Arc::clone(uid)).collect::<Vec<_>>() {
            self.delete(&uid, now);
        }
    }

    fn enforce_limit(&mut self) {
        while self.deleted.len() > MAX_DELETED {
            let Some((at, object)) = self.deleted.pop_front() else { return };
            self.evict(&object, at);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.deleted.front().is_some_and(|(at, _)| now.duration_since(*at) >= RETENTION) {
            let Some((at, object)) = self.deleted.pop_front() else { return };
            self.evict(&object, at);
        }
    }

    /// Removes what was deleted at this time. Does nothing if the pod has come back.
    fn evict(&mut self, object: &Deleted, at: Instant) {
        match object {
            Deleted::Pod(uid) => {
                if self.pods.get(uid).is_some_and(|entry| entry.deleted == Some(at)) {
                    self.remove(uid);
                }
            }
            Deleted::Container { uid } => self.remove_replaced(uid, at),
        }
    }

    fn remove(&mut self, uid: &Arc<str>) {
        let Some(entry) = self.pods.remove(uid) else { return };
        let ids = entry.pod.containers.iter().map(|(id, _)| id).chain(&entry.config_hash);
        for id in ids {
            self.remove_alias(id, uid);
        }
    }

    /// Removes an alias, unless another pod has taken it: a new static pod may have the same manifest.
    fn remove_alias(&mut self, id: &str, uid: &Arc<str>) {
        if self.aliases.get(id).is_some_and(|owner| owner == uid) {
            self.aliases.remove(id);
        }
    }

    fn remove_replaced(&mut self, uid: &Arc<str>, at: Instant) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        for (_, id) in entry.replaced.extract_if(.., |(since, _)| *since <= at) {
            Arc::make_mut(&mut entry.pod).containers.retain(|(other, _)| *other != id);
            self.aliases.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
