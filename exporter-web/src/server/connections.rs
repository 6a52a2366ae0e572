//! The open connections: which hold a slot, and which are closed when slots run out.
//!
//! Connections without a request have [`MAX_IDLE`] slots, requests being handled have `max_requests`. When slots run out,
//! the peer that holds most of them loses its oldest connection, so a new client always gets a slot, however many slow
//! clients there are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::peer::network;

/// Connections that are not being served: in the TLS handshake, before the end of the request's head, in the password
/// check, queued, or closing.
const MAX_IDLE: usize = 192;

/// While requests are queued, a response is evicted if the client has read nothing for this long.
const EVICT_IF_STALLED: Duration = Duration::from_millis(100);

/// While requests are queued, a response is evicted if it takes longer than this.
const EVICT_IF_SLOW: Duration = Duration::from_secs(1);

/// How long a request is queued for a slot before it is refused.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client may take to read a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request yet, or the response is complete.
    Idle,
    /// A request is waiting for a slot.
    Queued,
    /// The router is producing the response.
    Handling,
    /// The client is reading the response.
    Responding,
    /// The response has no end; the router limits how many there are.
    Streaming,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    /// The peer's network.
    peer: IpAddr,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    shared: Arc<Shared>,
}

impl Connection {
    /// Whether it is not being served.
    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Queued)
    }

    fn is_queued(&self) -> bool {
        self.phase == Phase::Queued
    }

    /// Whether it holds one of the slots for requests.
    fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Handling | Phase::Responding)
    }
}

/// State shared by the table and the task of a connection.
#[derive(Debug, Default)]
struct Shared {
    evict: Notify,
    /// When the client last read something, in milliseconds since the table was created.
    progress: AtomicU64,
}

type Table = HashMap<u64, Connection>;

/// Every open connection.
#[derive(Debug)]
pub(super) struct Connections {
    /// Requests handled at once; 0: no limit.
    max_requests: usize,
    table: Mutex<Table>,
    next_id: AtomicU64,
    created: Instant,
    /// Notified when a slot becomes free.
    freed: Notify,
}

impl Connections {
    /// No connections yet; 0 requests: no limit.
    pub(super) fn new(max_requests: usize) -> Self {
        Self {
            max_requests,
            table: Mutex::default(),
            next_id: AtomicU64::new(0),
            created: Instant::now(),
            freed: Notify::new(),
        }
    }

    /// Adds a connection; evicts another if there are too many.
    pub(super) fn insert(self: &Arc<Self>, peer: IpAddr) -> Slot {
        let (id, shared) = (self.next_id.fetch_add(1, Ordering::Relaxed), Arc::<Shared>::default());
        let mut table = self.table();
        if table.values().filter(|it| it.is_idle()).count() >= MAX_IDLE {
            evict(&mut table, Connection::is_idle);
        }
        let (peer, phase, since) = (network(peer), Phase::Idle, Instant::now());
        table.insert(id, Connection { peer, phase, since, shared: Arc::clone(&shared) });
        Slot { connections: Arc::clone(self), id, shared, deadline: Mutex::new(None) }
    }

    /// Whether this queued request is the one to be handled now; may evict a slow response.
    fn admits(&self, table: &mut Table, id: u64) -> bool {
        if self.max_requests == 0 {
            return true;
        }
        if table.values().filter(|it| it.is_busy() || it.is_queued()).count() <= self.max_requests {
            return true;
        }
        // Least-served peer first, then newest request: one peer's backlog cannot delay others.
        let served = count_by_peer(table, Connection::is_busy);
        let rank = |id: u64, it: &Connection| (Reverse(served.get(&it.peer).copied().unwrap_or(0)), id);
        let first = table.iter().filter(|(_, it)| it.is_queued()).max_by_key(|(id, it)| rank(**id, it));
        if first.is_none_or(|(first, _)| *first != id) {
            return false;
        }
        table.values().filter(|it| it.is_busy()).count() < self.max_requests || evict(table, |it| self.is_slow(it))
    }

    /// Whether the client reads its response so slowly that a queued request may have its slot.
    fn is_slow(&self, connection: &Connection) -> bool {
        let progress = connection.shared.progress.load(Ordering::Relaxed);
        let stalled = Duration::from_millis(self.now().saturating_sub(progress));
        connection.phase == Phase::Responding
            && (stalled >= EVICT_IF_STALLED || connection.since.elapsed() >= EVICT_IF_SLOW)
    }

    /// Milliseconds since the table was created.
    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the connections that `counts` selects each peer has.
fn count_by_peer(table: &Table, counts: impl Fn(&Connection) -> bool) -> HashMap<IpAddr, usize> {
    let mut by_peer = HashMap::new();
    for it in table.values().filter(|it| counts(it)) {
        *by_peer.entry(it.peer).or_default() += 1;
    }
    by_peer
}

/// Evicts the oldest of the selected connections from the peer that has most of them; false: none is selected.
fn evict(table: &mut Table, selects: impl Fn(&Connection) -> bool) -> bool {
    let by_peer = count_by_peer(table, &selects);
    let selected = table.iter().filter(|(_, it)| selects(it));
    let victim = selected.max_by_key(|(id, it)| (by_peer[&it.peer], Reverse((it.since, **id)))).map(|(id, _)| *id);
    let Some(evicted) = victim.and_then(|id| table.remove(&id)) else { return false };
    evicted.shared.evict.notify_one();
    true
}

/// A connection's entry in the table, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    id: u64,
    shared: Arc<Shared>,
    /// When the response must have been read.
    deadline: Mutex<Option<Instant>>,
}

impl Slot {
    /// Completes when the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.shared.evict.notified().await;
    }

    /// Queues a request until it may be handled; false: refused after [`QUEUE_TIMEOUT`].
    pub(super) async fn start_request(&self) -> bool {
        let deadline = tokio::time::Instant::now() + QUEUE_TIMEOUT;
        self.enter(&mut self.connections.table(), Phase::Queued);
        loop {
            let freed = self.connections.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut table = self.connections.table();
                if self.connections.admits(&mut table, self.id) {
                    self.enter(&mut table, Phase::Handling);
                    return true;
                }
            }
            // No notification is sent when a response stalls, so poll for that.
            let next = deadline.min(tokio::time::Instant::now() + EVICT_IF_STALLED / 4);
            _ = tokio::time::timeout_at(next, freed).await;
            if tokio::time::Instant::now() >= deadline {
                self.enter(&mut self.connections.table(), Phase::Idle);
                return false;
            }
        }
    }

    /// The response is ready: from now on the client must read it in time.
    pub(super) fn start_response(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + RESPONSE_TIMEOUT);
        self.record_progress();
        let mut table = self.connections.table();
        if table.get(&self.id).is_some_and(|it| it.phase == Phase::Handling) {
            self.enter(&mut table, Phase::Responding);
        }
    }

    /// The response has no end: no time limit, and no slot for a request.
    pub(super) fn start_streaming(&self) {
        self.enter(&mut self.connections.table(), Phase::Streaming);
        self.connections.freed.notify_waiters();
    }

    /// The client has read some of the response.
    pub(super) fn record_progress(&self) {
        self.shared.progress.store(self.connections.now(), Ordering::Relaxed);
    }

    /// The response is complete.
    pub(super) fn finish(&self) {
        self.enter(&mut self.connections.table(), Phase::Idle);
        self.connections.freed.notify_waiters();
    }

    /// When the response must have been read; none: not ready, or without an end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, table: &mut Table, phase: Phase) {
        if let Some(it) = table.get_mut(&self.id) {
            (it.phase, it.since) = (phase, Instant::now());
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().remove(&self.id);
        self.connections.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    async fn is_evicted(slot: &Slot) -> bool {
        tokio::time::timeout(Duration::ZERO, slot.evicted()).await.is_ok()
    }

    #[tokio::test]
    async fn the_peer_with_most_connections_loses_its_oldest() {
        let connections = Arc::new(Connections::new(40));
        let first = connections.insert(ip(1));
        let burst: Vec<_> = (0..MAX_IDLE + 10).map(|_| connections.insert(ip(2))).collect();
        let last = connections.insert(ip(3));
        assert!(!is_evicted(&first).await && !is_evicted(&last).await, "their peers have one connection each");
        let mut evicted = Vec::new();
        for slot in &burst {
            evicted.push(is_evicted(slot).await);
        }
        assert_eq!(evicted.iter().filter(|it| **it).count(), 12);
        assert!(evicted[..12].iter().all(|it| *it), "the oldest");
        drop((burst, first, last));
        assert!(connections.table().is_empty());
    }

    #[tokio::test]
    async fn addresses_of_one_network_are_one_peer() {
        let connections = Arc::new(Connections::new(40));
        let first = connections.insert(ip(1));
        let address = |n: usize| IpAddr::V6(Ipv6Addr::from((0x2001_0db8_u128 << 96) | n as u128));
        let burst: Vec<_> = (0..MAX_IDLE).map(|n| connections.insert(address(n))).collect();
        assert!(!is_evicted(&first).await && is_evicted(&burst[0]).await);
    }

    #[tokio::test]
    async fn unread_responses_are_evicted_for_queued_requests() {
        let connections = Arc::new(Connections::new(2));
        let slow: Vec<_> = (0..2).map(|_| connections.insert(ip(1))).collect();
        for slot in &slow {
            assert!(slot.start_request().await);
        }
        let (other, last) = (connections.insert(ip(1)), connections.insert(ip(1)));
        let began = Instant::now();
        assert!(!other.start_request().await, "a request is not evicted while the router handles it");
        assert!(began.elapsed() >= QUEUE_TIMEOUT);
        slow.iter().for_each(Slot::start_response);
        assert!(other.start_request().await);
        assert!(is_evicted(&slow[0]).await && !is_evicted(&slow[1]).await, "only the older one");
        // A complete response frees its slot.
        slow[1].finish();
        assert!(last.start_request().await && !is_evicted(&slow[1]).await);
    }

    #[tokio::test]
    async fn a_burst_of_requests_does_not_delay_other_peers() {
        let connections = Arc::new(Connections::new(1));
        let holder = connections.insert(ip(1));
        assert!(holder.start_request().await);
        let order = Arc::new(Mutex::new(Vec::new()));
        let queued: Vec<_> = [(1, 1), (1, 2), (2, 3), (1, 4)]
            .map(|(peer, n)| (Arc::new(connections.insert(ip(peer))), n))
            .into_iter()
            .map(|(slot, n)| {
                let order = Arc::clone(&order);
                tokio::spawn(async move {
                    if slot.start_request().await {
                        order.lock().expect("not poisoned").push(n);
                        slot.start_response();
                        slot.finish();
                    }
                })
            })
            .collect();
        while connections.table().values().filter(|it| it.is_queued()).count() < queued.len() {
            tokio::task::yield_now().await;
        }
        holder.finish();
        for it in queued {
            it.await.expect("ended");
        }
        let order = order.lock().expect("not poisoned");
        assert_eq!(*order, [4, 3, 2, 1], "the newest first");
    }
}
