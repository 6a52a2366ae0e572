//! Who has which address in the cluster, for the other end of connections. Bounded; addresses change hands.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::object::{Named, Node, Service};
use super::pod::Seen;
use super::store::AFTERLIFE;
use super::watch::Sink;
use rstwatch_verdict::event::{RemoteKind, RemoteWorkload};

/// Names by address.
#[derive(Debug)]
pub struct Names(RwLock<Known>);

#[derive(Debug)]
struct Known {
    limit: usize,
    by_address: HashMap<IpAddr, Holder>,
    /// Who has such an address, too, and gets it from its living holder: by uid, the last that was told of.
    waiting: HashMap<IpAddr, Arc<str>>,
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
    who: Arc<RemoteWorkload>,
    /// Those that it waits for, too.
    addresses: Vec<IpAddr>,
    list: u64,
}

impl Names {
    /// No names yet; at most so many addresses.
    pub fn new(limit: usize) -> Self {
        Self(RwLock::new(Known {
            limit,
            by_address: HashMap::new(),
            waiting: HashMap::new(),
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

    fn apply(&mut self, Found { uid, who, addresses, hidden }: Found, now: Instant) {
        let before = self.objects.remove(&uid).map_or(Vec::new(), |object| object.addresses);
        if hidden {
            return before.into_iter().chain(addresses).for_each(|address| self.hide(address, &uid));
        }
        for address in before.iter().filter(|address| !addresses.contains(address)) {
            self.leave(*address, &uid, now);
        }
        let who = Arc::new(who);
        let mut held = Vec::new();
        for address in addresses {
            if self.is_kept(&address, &uid, before.contains(&address) || who.kind == RemoteKind::Service) {
                self.waiting.insert(address, Arc::clone(&uid));
                held.push(address);
                continue;
            }
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
            let list = *self.list(who.kind);
            self.objects.insert(uid, Object { who, addresses: held, list });
        }
    }

    /// Whether its holder lives and keeps it. An address goes to a pod or a node that is new to it, whose old holder's end may be
    /// told of later. A late word of one that had it before takes nothing, nor does a service: anybody may give it any
    /// address (`externalIPs`), and that of a load balancer may be its nodes'.
    fn is_kept(&self, address: &IpAddr, uid: &Arc<str>, gives_way: bool) -> bool {
        let other = |holder: &Holder| holder.gone.is_none() && holder.uid != *uid;
        gives_way && self.by_address.get(address).is_some_and(other)
    }

    /// Its address has no name any more: neither its own, nor that of one before it.
    fn hide(&mut self, address: IpAddr, uid: &Arc<str>) {
        if self.by_address.get(&address).is_some_and(|holder| holder.uid == *uid || holder.gone.is_some()) {
            self.by_address.remove(&address);
            self.inherit(address);
        }
    }

    /// Who waited for an address gets it, if there is one that still has it.
    fn inherit(&mut self, address: IpAddr) {
        let Some(uid) = self.waiting.remove(&address) else { return };
        let Some(object) = self.objects.get(&uid).filter(|object| object.addresses.contains(&address)) else { return };
        self.by_address.insert(address, Holder { uid, who: Arc::clone(&object.who), gone: None });
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
        self.inherit(address);
        // Those that were taken again stand here too.
        if self.gone.len() > self.limit
            && let Some((at, address)) = self.gone.pop_front()
        {
            self.end(address, at);
        }
    }

    fn delete_unlisted(&mut self, kind: RemoteKind, now: Instant) {
        let list = *self.list(kind);
        let unlisted = self.objects.iter().filter(|(_, object)| object.who.kind == kind && object.list < list);
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
    /// It is not to be named.
    hidden: bool,
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
        let who = RemoteWorkload { kind: Self::KIND, namespace: Some(self.pod.namespace), name: self.pod.name };
        Some(Found { uid: self.uid?, who, addresses: self.addresses, hidden: self.opted_out })
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

fn named(kind: RemoteKind, Named { uid, namespace, name, addresses, opted_out, .. }: Named) -> Option<Found> {
    Some(Found { uid: uid?, who: RemoteWorkload { kind, namespace, name }, addresses, hidden: opted_out })
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
        known.objects.values().filter(|object| object.who.kind == T::KIND).count()
    }
}

#[cfg(test)]
mod tests;
