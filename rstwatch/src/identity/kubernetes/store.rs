//! The pods of this node, as far as they are known. Who asks never waits for the API.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::pod::Seen;
use super::watch::Sink;
use crate::identity::owner::pods::{Lookup, Pod, Pods};

/// How long what is gone still resolves: resets of its connections may come, or be told of, later than its end.
pub const AFTERLIFE: Duration = Duration::from_secs(5 * 60);
/// Most pods that live at once on a node; kubelets are made for a few hundred.
pub const MOST_PODS: usize = 20_000;
/// Most that are gone and still resolve; the oldest give way.
pub const MOST_GONE: usize = 4_096;
/// Most containers of a pod that were replaced and still resolve.
const MOST_REPLACED: usize = 16;

/// Pods by uid, by container, and by the hash of a static pod's manifest.
#[derive(Debug, Default)]
pub struct Store(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    pods: HashMap<Arc<str>, Entry>,
    /// Container ids and manifests' hashes to uids.
    also: HashMap<Arc<str>, Arc<str>>,
    /// What is gone, by the time of its end.
    gone: VecDeque<(Instant, Gone)>,
    live: usize,
    /// Pods that there was no room for.
    refused: u64,
    list: u64,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    opted_out: bool,
    config_hash: Option<Arc<str>>,
    /// Of its containers, those that another has taken the place of, and when.
    replaced: Vec<(Instant, Arc<str>)>,
    /// When it went.
    gone: Option<Instant>,
    /// The list that it was last seen in, or after.
    list: u64,
}

#[derive(Debug)]
enum Gone {
    Pod(Arc<str>),
    Container { uid: Arc<str> },
}

impl Store {
    /// Pods that live.
    pub fn len(&self) -> usize {
        self.read().live
    }

    /// Whether no pod lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pods that there was no room for, ever.
    pub fn refused(&self) -> u64 {
        self.read().refused
    }

    /// Everything that is kept: pods alive or gone, other ids, and what awaits its end. For bounds.
    pub fn sizes(&self) -> [usize; 3] {
        let known = self.read();
        [known.pods.len(), known.also.len(), known.gone.len()]
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pods for Store {
    fn find(&self, uid: Option<&str>, container: Option<&str>) -> Lookup {
        let known = self.read();
        let by_uid = uid.and_then(|uid| known.pods.get(uid).or_else(|| known.pods.get(known.also.get(uid)?)));
        let by_container = || known.pods.get(known.also.get(container?)?);
        match by_uid.or_else(by_container) {
            Some(entry) if entry.opted_out => Lookup::OptedOut,
            Some(entry) => Lookup::Pod(Arc::clone(&entry.pod)),
            None => Lookup::Unknown,
        }
    }
}

impl Sink for Arc<Store> {
    type Object = Seen;

    fn begin(&mut self) {
        self.write().list += 1;
    }

    fn apply(&mut self, seen: Seen, now: Instant) {
        self.write().apply(seen, now);
    }

    fn delete(&mut self, seen: Seen, now: Instant) {
        if let Some(uid) = seen.uid {
            self.write().bury(&uid, now);
        }
    }

    fn complete(&mut self, now: Instant) {
        self.write().bury_unlisted(now);
    }

    fn expire(&mut self, now: Instant) {
        self.write().expire(now);
    }

    fn held(&self) -> usize {
        self.len()
    }
}

impl Known {
    fn apply(&mut self, seen: Seen, now: Instant) {
        let Some(uid) = seen.uid.clone() else { return };
        let before = self.pods.remove(&uid);
        let was_live = before.as_ref().is_some_and(|entry| entry.gone.is_none());
        if !was_live && self.live >= MOST_PODS {
            self.refused += 1;
            // It is gone as far as we know, and stays for its afterlife.
            self.pods.extend(before.map(|entry| (uid, entry)));
            return;
        }
        let mut entry = Entry {
            opted_out: seen.opted_out,
            config_hash: seen.config_hash.filter(|hash| !self.is_anothers(hash, &uid, &seen.pod)),
            pod: Arc::new(seen.pod),
            replaced: Vec::new(),
            gone: None,
            list: self.list,
        };
        self.live += usize::from(!was_live);
        if let Some(before) = before {
            self.inherit(&mut entry, before, &uid, now);
        }
        let ids = entry.pod.containers.iter().map(|(id, _)| id).chain(&entry.config_hash);
        for id in ids {
            self.also.insert(Arc::clone(id), Arc::clone(&uid));
        }
        self.pods.insert(uid, entry);
        self.keep_bounds();
    }

    /// Whether another pod that lives has this hash. Of one name there is one pod, so that a new one of it is the old one's heir.
    fn is_anothers(&self, hash: &str, uid: &str, pod: &Pod) -> bool {
        let holder = self.also.get(hash).filter(|holder| ***holder != *uid).and_then(|holder| self.pods.get(holder));
        holder.is_some_and(|it| it.gone.is_none() && (&it.pod.namespace, &it.pod.name) != (&pod.namespace, &pod.name))
    }

    /// Containers that the pod no longer has stay for their afterlife.
    fn inherit(&mut self, entry: &mut Entry, before: Entry, uid: &Arc<str>, now: Instant) {
        if let Some(hash) = before.config_hash.filter(|hash| entry.config_hash.as_ref() != Some(hash)) {
            self.disown(&hash, uid);
        }
        if before.replaced.is_empty() && before.pod.containers == entry.pod.containers {
            // The same strings need not be kept twice.
            let pod = Arc::make_mut(&mut entry.pod);
            pod.containers.clone_from(&before.pod.containers);
            return;
        }
        let Pod { containers, .. } = Arc::make_mut(&mut entry.pod);
        let mut left: Vec<_> =
            before.pod.containers.iter().filter(|(id, _)| !containers.iter().any(|(other, _)| other == id)).collect();
        for (id, _) in left.split_off(left.len().min(MOST_REPLACED)) {
            self.also.remove(id);
        }
        for (id, name) in left {
            let known = before.replaced.iter().find(|(_, replaced)| replaced == id).map(|(at, _)| *at);
            entry.replaced.push((known.unwrap_or(now), Arc::clone(id)));
            if known.is_none() {
                self.gone.push_back((now, Gone::Container { uid: Arc::clone(uid) }));
            }
            containers.push((Arc::clone(id), Arc::clone(name)));
        }
    }

    fn bury(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(entry) = self.pods.get_mut(uid).filter(|entry| entry.gone.is_none()) else { return };
        entry.gone = Some(now);
        self.live -= 1;
        self.gone.push_back((now, Gone::Pod(Arc::clone(uid))));
        self.keep_bounds();
    }

    /// A whole list was seen: what lives and was not in it, nor came later, is gone.
    fn bury_unlisted(&mut self, now: Instant) {
        let unlisted = self.pods.iter().filter(|(_, entry)| entry.gone.is_none() && entry.list < self.list);
        for uid in unlisted.map(|(uid, _)| Arc::clone(uid)).collect::<Vec<_>>() {
            self.bury(&uid, now);
        }
    }

    fn keep_bounds(&mut self) {
        while self.gone.len() > MOST_GONE {
            let Some((at, gone)) = self.gone.pop_front() else { return };
            self.end(&gone, at);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.gone.front().is_some_and(|(at, _)| now.duration_since(*at) >= AFTERLIFE) {
            let Some((at, gone)) = self.gone.pop_front() else { return };
            self.end(&gone, at);
        }
    }

    /// The end of an afterlife that began at this time; nothing if the pod came back.
    fn end(&mut self, gone: &Gone, at: Instant) {
        match gone {
            Gone::Pod(uid) => {
                if self.pods.get(uid).is_some_and(|entry| entry.gone == Some(at)) {
                    self.forget(uid);
                }
            }
            Gone::Container { uid } => self.forget_replaced(uid, at),
        }
    }

    fn forget(&mut self, uid: &Arc<str>) {
        let Some(entry) = self.pods.remove(uid) else { return };
        let ids = entry.pod.containers.iter().map(|(id, _)| id).chain(&entry.config_hash);
        for id in ids {
            self.disown(id, uid);
        }
    }

    /// The next static pod of this manifest may have it by now.
    fn disown(&mut self, id: &str, uid: &Arc<str>) {
        if self.also.get(id).is_some_and(|owner| owner == uid) {
            self.also.remove(id);
        }
    }

    fn forget_replaced(&mut self, uid: &Arc<str>, at: Instant) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        for (_, id) in entry.replaced.extract_if(.., |(since, _)| *since <= at) {
            Arc::make_mut(&mut entry.pod).containers.retain(|(other, _)| *other != id);
            self.also.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
