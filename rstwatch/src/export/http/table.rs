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

/// Where a request waits for a place, an answer gives way of which nothing was taken for so long.
const STALLED: Duration = Duration::from_millis(100);

/// So does one that takes longer than this.
const LONG: Duration = Duration::from_secs(1);

/// How long a request waits for a place before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an answer may take to be taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no request yet, or no more.
    Waiting,
    /// There is one, which waits for a place.
    Asking,
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
    state: Arc<State>,
}

/// What a connection's own task shares with the table.
#[derive(Debug, Default)]
struct State {
    evict: Notify,
    /// When the client last took something, in milliseconds since the table was made.
    taken: AtomicU64,
}

/// Every open connection.
#[derive(Debug)]
pub(super) struct Table {
    /// Requests answered at once; 0: no limit.
    max_requests: usize,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    began: Instant,
    /// Places that became free.
    freed: Notify,
}

impl Table {
    pub(super) fn new(max_requests: usize) -> Self {
        Self {
            max_requests,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            began: Instant::now(),
            freed: Notify::new(),
        }
    }

    /// A new connection; another gives way if there are too many.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Ticket {
        let (id, state) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::<State>::default());
        let mut open = self.open();
        let waits = |it: &Open| [Phase::Waiting, Phase::Asking].contains(&it.phase);
        if open.values().filter(|it| waits(it)).count() >= MAX_WAITING {
            evict(&mut open, waits);
        }
        let phase = Phase::Waiting;
        open.insert(id, Open { peer: network(peer), phase, since: Instant::now(), state: Arc::clone(&state) });
        Ticket { table: Arc::clone(self), id, state, deadline: Mutex::new(None) }
    }

    /// Whether this one, of all that ask, may begin now; another may have to give way.
    fn admits(&self, open: &mut HashMap<u64, Open>, id: u64) -> bool {
        if self.max_requests == 0 {
            return true;
        }
        let busy = |it: &Open| [Phase::Working, Phase::Answering].contains(&it.phase);
        // The peer that holds least comes first, then the newest: who has waited for long waits for all that came before.
        let held = held(open, busy);
        let rank = |id: u64, it: &Open| (std::cmp::Reverse(held.get(&it.peer).copied().unwrap_or(0)), id);
        let asking = open.iter().filter(|(_, it)| it.phase == Phase::Asking);
        if asking.max_by_key(|(id, it)| rank(**id, it)).is_some_and(|(best, _)| *best != id) {
            return false;
        }
        let now = self.now();
        let is_slow = |it: &Open| {
            let stalled = Duration::from_millis(now.saturating_sub(it.state.taken.load(Ordering::Relaxed)));
            it.phase == Phase::Answering && (stalled >= STALLED || it.since.elapsed() >= LONG)
        };
        open.values().filter(|it| busy(it)).count() < self.max_requests || evict(open, is_slow)
    }

    /// Milliseconds since the table was made.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
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

/// How many such connections each peer has.
fn held(open: &HashMap<u64, Open>, such: impl Fn(&Open) -> bool) -> HashMap<IpAddr, usize> {
    let mut held = HashMap::new();
    for it in open.values().filter(|it| such(it)) {
        *held.entry(it.peer).or_default() += 1;
    }
    held
}

/// Of the peer that has most such connections the oldest goes; false: there is none.
fn evict(open: &mut HashMap<u64, Open>, such: impl Fn(&Open) -> bool) -> bool {
    let held = held(open, &such);
    let those = open.iter().filter(|(_, it)| such(it));
    let oldest = those.max_by_key(|(id, it)| (held[&it.peer], std::cmp::Reverse((it.since, **id))));
    let Some(id) = oldest.map(|(id, _)| *id) else { return false };
    if let Some(gone) = open.remove(&id) {
        gone.state.evict.notify_one();
    }
    true
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    table: Arc<Table>,
    id: u64,
    state: Arc<State>,
    /// When its answer must have been taken.
    deadline: Mutex<Option<Instant>>,
}

impl Ticket {
    /// Ends when the connection has to give way.
    pub(super) async fn evicted(&self) {
        self.state.evict.notified().await;
    }

    /// The request is complete. Waits for its place among those that are answered; false: there is none.
    pub(super) async fn begin(&self) -> bool {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        self.enter(&mut self.table.open(), Phase::Asking);
        loop {
            let freed = self.table.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut open = self.table.open();
                if self.table.admits(&mut open, self.id) {
                    self.enter(&mut open, Phase::Working);
                    return true;
                }
            }
            // A place may also come because an answer is not taken.
            let next = deadline.min(tokio::time::Instant::now() + STALLED / 4);
            _ = tokio::time::timeout_at(next, freed).await;
            if tokio::time::Instant::now() >= deadline {
                self.enter(&mut self.table.open(), Phase::Waiting);
                return false;
            }
        }
    }

    /// The answer is made: it has to be taken in time.
    pub(super) fn answer(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + ANSWER_TIMEOUT);
        self.took();
        let mut open = self.table.open();
        if open.get(&self.id).is_some_and(|it| it.phase == Phase::Working) {
            self.enter(&mut open, Phase::Answering);
        }
    }

    /// The client took some of it.
    pub(super) fn took(&self) {
        self.state.taken.store(self.table.now(), Ordering::Relaxed);
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
