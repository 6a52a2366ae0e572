//! Who has which address in the cluster, for the other end of connections. Bounded; addresses change hands.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::object::{Named, Node, Service};
use super::pod::Seen;
use super::store::AFTERLIFE;
use super::watch::Sink;
use crate::record::{RemoteKind, RemoteWorkload};

/// Names by address.
#[derive(Debug)]
pub struct Names(RwLock<Known>);

#[derive(Debug)]
struct Known {
    limit: usize,
    by_address: HashMap<IpAddr, Holder>,
    /// Objects with addresses, by uid.
    objects: HashMap<Arc<str>, Object>,
    /// Addresses without a living holder, by the time that they lost it.
    gone: VecDeque<(Instant, IpAddr)>,
    /// Addresses that there was no room for, ever.
    refused: u64,
    /// The current list of each kind.
    lists: [u64; 3],
}

#[derive(Debug)]
struct Holder {
    uid: Arc<str>,
    who: Arc<RemoteWorkload>,
    /// When its holder went.
    gone: Option<Instant>,
}

#[derive(Debug)]
struct Object {
    kind: RemoteKind,
    addresses: Vec<IpAddr>,
    list: u64,
}

impl Names {
    /// No names yet; at most so many addresses.
    pub fn new(limit: usize) -> Self {
        Self(RwLock::new(Known {
            limit,
            by_address: HashMap::new(),
            objects: HashMap::new(),
            gone: VecDeque::new(),
            refused: 0,
            lists: [0; 3],
        }))
    }

    /// Who has this address, or had it within the last five minutes and nobody since.
    pub fn find(&self, address: IpAddr) -> Option<Arc<RemoteWorkload>> {
        self.read().by_address.get(&address.to_canonical()).map(|holder| Arc::clone(&holder.who))
    }

    /// Addresses with a name.
    pub fn len(&self) -> usize {
        self.read().by_address.len()
    }

    /// Whether no address has a name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Addresses that there was no room for, ever.
    pub fn refused(&self) -> u64 {
        self.read().refused
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn list(&mut self, kind: RemoteKind) -> &mut u64 {
        let [pods, services, nodes] = &mut self.lists;
        match kind {
            RemoteKind::Pod => pods,
            RemoteKind::Service => services,
            RemoteKind::Node => nodes,
        }
    }

    fn apply(&mut self, Found { uid, who, addresses }: Found, now: Instant) {
        let kind = who.kind;
        let before = self.objects.remove(&uid).map_or(Vec::new(), |object| object.addresses);
        for address in before.iter().filter(|address| !addresses.contains(address)) {
            self.leave(*address, &uid, now);
        }
        let who = Arc::new(who);
        let mut held = Vec::new();
        for address in addresses {
            let known = self.by_address.contains_key(&address);
            if !known && !self.make_room() {
                self.refused += 1;
                continue;
            }
            self.by_address.insert(address, Holder { uid: Arc::clone(&uid), who: Arc::clone(&who), gone: None });
            held.push(address);
        }
        if !held.is_empty() {
            held.shrink_to_fit();
            let list = *self.list(kind);
            self.objects.insert(uid, Object { kind, addresses: held, list });
        }
    }

    /// Room for one more: whose holder is gone gives way.
    fn make_room(&mut self) -> bool {
        while self.by_address.len() >= self.limit {
            let Some((at, address)) = self.gone.pop_front() else { return false };
            self.end(address, at);
        }
        true
    }

    fn delete(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(object) = self.objects.remove(uid) else { return };
        for address in object.addresses {
            self.leave(address, uid, now);
        }
    }

    fn leave(&mut self, address: IpAddr, uid: &Arc<str>, now: Instant) {
        // Another may have taken it already.
        let Some(holder) = self.by_address.get_mut(&address).filter(|holder| holder.uid == *uid) else { return };
        holder.gone = Some(now);
        self.gone.push_back((now, address));
        // Those that were taken again stand here too.
        if self.gone.len() > self.limit
            && let Some((at, address)) = self.gone.pop_front()
        {
            self.end(address, at);
        }
    }

    fn delete_unlisted(&mut self, kind: RemoteKind, now: Instant) {
        let list = *self.list(kind);
        let unlisted = self.objects.iter().filter(|(_, object)| object.kind == kind && object.list < list);
        for uid in unlisted.map(|(uid, _)| Arc::clone(uid)).collect::<Vec<_>>() {
            self.delete(&uid, now);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.gone.front().is_some_and(|(at, _)| now.duration_since(*at) >= AFTERLIFE) {
            let Some((at, address)) = self.gone.pop_front() else { return };
            self.end(address, at);
        }
    }

    fn end(&mut self, address: IpAddr, at: Instant) {
        if self.by_address.get(&address).is_some_and(|holder| holder.gone == Some(at)) {
            self.by_address.remove(&address);
        }
    }
}

/// An object with addresses. Without uid it is nothing.
#[derive(Debug)]
pub struct Found {
    uid: Arc<str>,
    who: RemoteWorkload,
    addresses: Vec<IpAddr>,
}

/// What has addresses.
pub trait Addressed {
    /// Its kind.
    const KIND: RemoteKind;
    /// Itself with its addresses; none if nothing can be made of it.
    fn found(self) -> Option<Found>;
}

impl Addressed for Seen {
    const KIND: RemoteKind = RemoteKind::Pod;

    fn found(self) -> Option<Found> {
        let addresses = if self.opted_out { Vec::new() } else { self.addresses };
        let who = RemoteWorkload { kind: Self::KIND, namespace: Some(self.pod.namespace), name: self.pod.name };
        Some(Found { uid: self.uid?, who, addresses })
    }
}

impl Addressed for Service {
    const KIND: RemoteKind = RemoteKind::Service;

    fn found(self) -> Option<Found> {
        named(Self::KIND, self.0)
    }
}

impl Addressed for Node {
    const KIND: RemoteKind = RemoteKind::Node;

    fn found(self) -> Option<Found> {
        named(Self::KIND, self.0)
    }
}

fn named(kind: RemoteKind, Named { uid, namespace, name, addresses, .. }: Named) -> Option<Found> {
    Some(Found { uid: uid?, who: RemoteWorkload { kind, namespace, name }, addresses })
}

/// Takes the objects of one kind.
#[derive(Debug)]
pub struct Directory<T> {
    names: Arc<Names>,
    object: std::marker::PhantomData<fn(T)>,
}

impl<T> Directory<T> {
    /// Into these names.
    pub fn new(names: &Arc<Names>) -> Self {
        Self { names: Arc::clone(names), object: std::marker::PhantomData }
    }
}

impl<T: Addressed> Sink for Directory<T> {
    type Object = T;

    fn begin(&mut self) {
        *self.names.write().list(T::KIND) += 1;
    }

    fn apply(&mut self, object: T, now: Instant) {
        if let Some(found) = object.found() {
            self.names.write().apply(found, now);
        }
    }

    fn delete(&mut self, object: T, now: Instant) {
        if let Some(found) = object.found() {
            self.names.write().delete(&found.uid, now);
        }
    }

    fn complete(&mut self, now: Instant) {
        self.names.write().delete_unlisted(T::KIND, now);
    }

    fn expire(&mut self, now: Instant) {
        self.names.write().expire(now);
    }

    fn held(&self) -> usize {
        let known = self.names.read();
        known.objects.values().filter(|object| object.kind == T::KIND).count()
    }
}

#[cfg(test)]
mod tests;
