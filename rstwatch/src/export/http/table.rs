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
        let asking = |it: &Open| it.phase == Phase::Asking;
        if open.values().filter(|it| busy(it) || asking(it)).count() <= self.max_requests {
            return true;
        }
        // The peer that holds least comes first, then the newest: a crowd that waits stands before nobody.
        let held = held(open, busy);
        let rank = |id: u64, it: &Open| (std::cmp::Reverse(held.get(&it.peer).copied().unwrap_or(0)), id);
        let first = open.iter().filter(|(_, it)| asking(it)).max_by_key(|(id, it)| rank(**id, it));
        if first.is_none_or(|(first, _)| *first != id) {
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
pub(in crate::export) fn network(peer: IpAddr) -> IpAddr {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    async fn is_evicted(ticket: &Ticket) -> bool {
        tokio::time::timeout(Duration::ZERO, ticket.evicted()).await.is_ok()
    }

    #[tokio::test]
    async fn the_oldest_of_the_peer_that_has_most_gives_way() {
        let table = Arc::new(Table::new(40));
        let first = table.enter(ip(1));
        let crowd: Vec<_> = (0..MAX_WAITING + 10).map(|_| table.enter(ip(2))).collect();
        let last = table.enter(ip(3));
        assert!(!is_evicted(&first).await && !is_evicted(&last).await, "they are alone");
        let mut evicted = Vec::new();
        for ticket in &crowd {
            evicted.push(is_evicted(ticket).await);
        }
        assert_eq!(evicted.iter().filter(|it| **it).count(), 12);
        assert!(evicted[..12].iter().all(|it| *it), "the oldest");
        drop((crowd, first, last));
        assert!(table.open().is_empty());
    }

    #[tokio::test]
    async fn a_network_is_one_peer() {
        let table = Arc::new(Table::new(40));
        let first = table.enter(ip(1));
        let address = |n: usize| IpAddr::V6(Ipv6Addr::from((0x2001_0db8_u128 << 96) | n as u128));
        let crowd: Vec<_> = (0..MAX_WAITING).map(|n| table.enter(address(n))).collect();
        assert!(!is_evicted(&first).await && is_evicted(&crowd[0]).await);
    }

    #[tokio::test]
    async fn answers_that_nobody_takes_give_way_to_requests() {
        let table = Arc::new(Table::new(2));
        let slow: Vec<_> = (0..2).map(|_| table.enter(ip(1))).collect();
        for ticket in &slow {
            assert!(ticket.begin().await);
        }
        let (other, last) = (table.enter(ip(1)), table.enter(ip(1)));
        let waited = Instant::now();
        assert!(!other.begin().await, "answers that are being made are left alone");
        assert!(waited.elapsed() >= PATIENCE);
        slow.iter().for_each(Ticket::answer);
        assert!(other.begin().await);
        assert!(is_evicted(&slow[0]).await && !is_evicted(&slow[1]).await, "the older, and it alone");
        // One that ends gives its place.
        slow[1].end();
        assert!(last.begin().await && !is_evicted(&slow[1]).await);
    }

    #[tokio::test]
    async fn a_crowd_that_asks_stands_before_nobody() {
        let table = Arc::new(Table::new(1));
        let holder = table.enter(ip(1));
        assert!(holder.begin().await);
        let order = Arc::new(Mutex::new(Vec::new()));
        let asking: Vec<_> = [(1, 1), (1, 2), (2, 3), (1, 4)]
            .map(|(peer, n)| (Arc::new(table.enter(ip(peer))), n))
            .into_iter()
            .map(|(ticket, n)| {
                let order = Arc::clone(&order);
                tokio::spawn(async move {
                    if ticket.begin().await {
                        order.lock().expect("whole").push(n);
                        ticket.answer();
                        ticket.end();
                    }
                })
            })
            .collect();
        while table.open().values().filter(|it| it.phase == Phase::Asking).count() < asking.len() {
            tokio::task::yield_now().await;
        }
        holder.end();
        for it in asking {
            it.await.expect("ended");
        }
        let order = order.lock().expect("whole");
        assert_eq!(*order, [4, 3, 2, 1], "the newest first");
    }
}
