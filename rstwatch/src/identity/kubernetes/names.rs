//! Names of pods, services and nodes by address, for the remote ends of connections. Bounded; addresses are reused.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::store::RETENTION;
use rstwatch_verdict::event::{RemoteKind, RemoteWorkload};

/// Names by address.
#[derive(Debug)]
pub struct Names(RwLock<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    by_address: HashMap<IpAddr, Holder>,
    /// Uids of objects that share an address with its existing holder and take it over later; the last one reported.
    successors: HashMap<IpAddr, Arc<str>>,
    /// Objects with addresses, by uid.
    objects: HashMap<Arc<str>, Object>,
    /// Addresses whose holder was deleted, oldest first.
    released: VecDeque<(Instant, IpAddr)>,
    /// Addresses not kept so far because the limit was reached.
    refused: u64,
    /// Number of lists begun, per kind.
    lists: [u64; 3],
}

#[derive(Debug)]
struct Holder {
    uid: Arc<str>,
    name: Arc<RemoteWorkload>,
    /// When the holder released it.
    released: Option<Instant>,
}

#[derive(Debug)]
struct Object {
    name: Arc<RemoteWorkload>,
    /// Including those that it may take over later.
    addresses: Vec<IpAddr>,
    list: u64,
}

/// An object with its addresses.
#[derive(Debug)]
pub struct NamedObject {
    pub(super) uid: Arc<str>,
    pub(super) name: RemoteWorkload,
    pub(super) addresses: Vec<IpAddr>,
    /// It opted out of being named.
    pub(super) opted_out: bool,
}

impl Names {
    /// An empty table of at most `limit` addresses.
    pub fn new(limit: usize) -> Self {
        Self(RwLock::new(State {
            limit,
            by_address: HashMap::new(),
            successors: HashMap::new(),
            objects: HashMap::new(),
            released: VecDeque::new(),
            refused: 0,
            lists: [0; 3],
        }))
    }

    /// The holder of an address, or the last holder if it released the address within [`RETENTION`].
    pub fn find(&self, address: IpAddr) -> Option<Arc<RemoteWorkload>> {
        self.read().by_address.get(&address.to_canonical()).map(|holder| Arc::clone(&holder.name))
    }

    /// Number of addresses with a name.
    pub fn len(&self) -> usize {
        self.read().by_address.len()
    }

    /// Whether no address has a name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Addresses not kept so far because the limit was reached.
    pub fn refused(&self) -> u64 {
        self.read().refused
    }

    pub(super) fn begin_list(&self, kind: RemoteKind) {
        *self.write().list(kind) += 1;
    }

    pub(super) fn apply(&self, object: NamedObject, now: Instant) {
        self.write().apply(object, now);
    }

    pub(super) fn delete(&self, uid: &Arc<str>, now: Instant) {
        self.write().delete(uid, now);
    }

    pub(super) fn delete_unlisted(&self, kind: RemoteKind, now: Instant) {
        self.write().delete_unlisted(kind, now);
    }

    pub(super) fn expire(&self, now: Instant) {
        self.write().expire(now);
    }

    /// Number of existing objects of a kind.
    pub(super) fn count(&self, kind: RemoteKind) -> usize {
        self.read().objects.values().filter(|object| object.name.kind == kind).count()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn list(&mut self, kind: RemoteKind) -> &mut u64 {
        let [pods, services, nodes] = &mut self.lists;
        match kind {
            RemoteKind::Pod => pods,
            RemoteKind::Service => services,
            RemoteKind::Node => nodes,
        }
    }

    fn apply(&mut self, NamedObject { uid, name, addresses, opted_out }: NamedObject, now: Instant) {
        let before = self.objects.remove(&uid).map_or(Vec::new(), |object| object.addresses);
        if opted_out {
            return before.into_iter().chain(addresses).for_each(|address| self.hide(address, &uid));
        }
        for address in before.iter().filter(|address| !addresses.contains(address)) {
            self.release(*address, &uid, now);
        }
        let name = Arc::new(name);
        let mut kept = Vec::new();
        for address in addresses {
            if self.holder_keeps(&address, &uid, before.contains(&address) || name.kind == RemoteKind::Service) {
                self.successors.insert(address, Arc::clone(&uid));
                kept.push(address);
                continue;
            }
            let known = self.by_address.contains_key(&address);
            if !known && !self.evict_if_full() {
                self.refused += 1;
                continue;
            }
            self.by_address.insert(address, Holder { uid: Arc::clone(&uid), name: Arc::clone(&name), released: None });
            kept.push(address);
        }
        if !kept.is_empty() {
            kept.shrink_to_fit();
            let list = *self.list(name.kind);
            self.objects.insert(uid, Object { name, addresses: kept, list });
        }
    }

    /// Whether the existing holder keeps the address. A pod or node that is new to an address takes it: the deletion of the old
    /// holder may be reported later. An object that had the address before does not, since its event may be late. Nor does a
    /// service: users may give it any address (`externalIPs`), and a load balancer may have those of its nodes.
    fn holder_keeps(&self, address: &IpAddr, uid: &Arc<str>, yields: bool) -> bool {
        let other = |holder: &Holder| holder.released.is_none() && holder.uid != *uid;
        yields && self.by_address.get(address).is_some_and(other)
    }

    /// Removes the name of an opted-out object's address, and that of a former holder.
    fn hide(&mut self, address: IpAddr, uid: &Arc<str>) {
        if self.by_address.get(&address).is_some_and(|holder| holder.uid == *uid || holder.released.is_some()) {
            self.by_address.remove(&address);
            self.hand_over(address);
        }
    }

    /// Gives an address to its successor, if that still has it.
    fn hand_over(&mut self, address: IpAddr) {
        let Some(uid) = self.successors.remove(&address) else { return };
        let Some(object) = self.objects.get(&uid).filter(|object| object.addresses.contains(&address)) else { return };
        self.by_address.insert(address, Holder { uid, name: Arc::clone(&object.name), released: None });
    }

    /// Evicts released addresses while the table is full. Returns whether there is a free slot.
    fn evict_if_full(&mut self) -> bool {
        while self.by_address.len() >= self.limit {
            let Some((at, address)) = self.released.pop_front() else { return false };
            self.evict(address, at);
        }
        true
    }

    fn delete(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(object) = self.objects.remove(uid) else { return };
        for address in object.addresses {
            self.release(address, uid, now);
        }
    }

    fn release(&mut self, address: IpAddr, uid: &Arc<str>, now: Instant) {
        // Another object may have taken it already.
        let Some(holder) = self.by_address.get_mut(&address).filter(|holder| holder.uid == *uid) else { return };
        holder.released = Some(now);
        self.released.push_back((now, address));
        self.hand_over(address);
        // The queue also holds addresses that have been taken again, so it needs a limit of its own.
        if self.released.len() > self.limit
            && let Some((at, address)) = self.released.pop_front()
        {
            self.evict(address, at);
        }
    }

    fn delete_unlisted(&mut self, kind: RemoteKind, now: Instant) {
        let list = *self.list(kind);
        let unlisted = self.objects.iter().filter(|(_, object)| object.name.kind == kind && object.list < list);
        for uid in unlisted.map(|(uid, _)| Arc::clone(uid)).collect::<Vec<_>>() {
            self.delete(&uid, now);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.released.front().is_some_and(|(at, _)| now.duration_since(*at) >= RETENTION) {
            let Some((at, address)) = self.released.pop_front() else { return };
            self.evict(address, at);
        }
    }

    fn evict(&mut self, address: IpAddr, at: Instant) {
        if self.by_address.get(&address).is_some_and(|holder| holder.released == Some(at)) {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests;
