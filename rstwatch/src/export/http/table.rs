//! The open connections: who holds what, and who gives way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Connections without a place: in the handshake, in the head, waiting for the password's check, and those that were answered
/// but do not end.
const MAX_WAITING: usize = 192;

/// An answer that is being taken may be left undisturbed for so long.
const UNDISTURBED: Duration = Duration::from_millis(250);

/// How long a request waits for a place before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an answer may take to be taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no request yet, or no more.
    Waiting,
    /// The answer is being made.
    Working,
    /// The answer is being taken.
    Answering,
    /// Events are followed; bounded where that is served.
    Following,
}

/// One connection.
#[derive(Debug)]
struct Open {
    peer: IpAddr,
    phase: Phase,
    since: Instant,
    evict: Arc<Notify>,
}

/// Every open connection.
#[derive(Debug)]
pub(super) struct Table {
    /// Requests answered at once; 0: no limit.
    max_requests: usize,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    /// Places that became free.
    freed: Notify,
}

impl Table {
    pub(super) fn new(max_requests: usize) -> Self {
        Self { max_requests, open: Mutex::default(), next: AtomicU64::new(0), freed: Notify::new() }
    }

    /// A new connection; another gives way if there are too many.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Ticket {
        let (id, evict) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        let mut open = self.open();
        let waiting = open.values().filter(|it| it.phase == Phase::Waiting).count();
        if waiting >= MAX_WAITING {
            evict_from(&mut open, Phase::Waiting, Duration::ZERO);
        }
        let entry =
            Open { peer: network(peer), phase: Phase::Waiting, since: Instant::now(), evict: Arc::clone(&evict) };
        open.insert(id, entry);
        Ticket { table: Arc::clone(self), id, evict, deadline: Mutex::new(None) }
    }

    fn has_place(&self, open: &HashMap<u64, Open>) -> bool {
        let busy = open.values().filter(|it| [Phase::Working, Phase::Answering].contains(&it.phase)).count();
        self.max_requests == 0 || busy < self.max_requests
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses of one IPv6 network are one peer's.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Of the peer that has most connections in this phase the oldest goes, if it is as old as that.
fn evict_from(open: &mut HashMap<u64, Open>, phase: Phase, age: Duration) -> bool {
    let mut held = HashMap::<IpAddr, usize>::new();
    for it in open.values().filter(|it| it.phase == phase) {
        *held.entry(it.peer).or_default() += 1;
    }
    let candidates = open.iter().filter(|(_, it)| it.phase == phase && it.since.elapsed() >= age);
    let oldest = candidates.max_by_key(|(id, it)| (held[&it.peer], it.since.elapsed(), std::cmp::Reverse(**id)));
    let Some(id) = oldest.map(|(id, _)| *id) else { return false };
    if let Some(gone) = open.remove(&id) {
        gone.evict.notify_one();
    }
    true
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    table: Arc<Table>,
    id: u64,
    evict: Arc<Notify>,
    /// When its answer must have been taken.
    deadline: Mutex<Option<Instant>>,
}

impl Ticket {
    /// Ends when the connection has to give way.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// The request is complete. Waits for its place among those that are answered; false: there is none.
    pub(super) async fn begin(&self) -> bool {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let freed = self.table.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut open = self.table.open();
                if self.table.has_place(&open) || evict_from(&mut open, Phase::Answering, UNDISTURBED) {
                    self.enter(&mut open, Phase::Working);
                    return true;
                }
            }
            // A place may also come because an answer has been taken for long enough.
            let next = deadline.min(tokio::time::Instant::now() + UNDISTURBED / 4);
            _ = tokio::time::timeout_at(next, freed).await;
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
        }
    }

    /// The answer is made: it has to be taken in time.
    pub(super) fn answer(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + ANSWER_TIMEOUT);
        let mut open = self.table.open();
        if open.get(&self.id).is_some_and(|it| it.phase == Phase::Working) {
            self.enter(&mut open, Phase::Answering);
        }
    }

    /// The answer was taken.
    pub(super) fn end(&self) {
        self.enter(&mut self.table.open(), Phase::Waiting);
        self.table.freed.notify_waiters();
    }

    /// The answer has no end.
    pub(super) fn follow(&self) {
        self.enter(&mut self.table.open(), Phase::Following);
        self.table.freed.notify_waiters();
    }

    /// When the answer must have been taken.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, open: &mut HashMap<u64, Open>, phase: Phase) {
        if let Some(it) = open.get_mut(&self.id) {
            (it.phase, it.since) = (phase, Instant::now());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.open().remove(&self.id);
        self.table.freed.notify_waiters();
    }
}
