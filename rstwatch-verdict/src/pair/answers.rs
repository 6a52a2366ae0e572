//! Holds answers to segments of unknown connections, because the abort that explains them may be recorded later.
//!
//! An aborting socket leaves the hash table (net/ipv4/tcp.c, tcp_set_state) before its RST is sent and traced. Until
//! then another CPU answers the peer's segments as those of an unknown connection. While the abort is traced, such an
//! answer may read its tombstone half written: with the mark of an abort, but without the reason. The abort's own record is
//! complete.

use rstwatch_common::record::{ConnState, ResetRecord, flags, kind, present, tcp_flag};

use super::{CAPACITY, HOLD, has_expired, nanos};
use crate::evidence::{Ending, Evidence, Sent, SocketClass};
use crate::recent::Recent;

/// Aborts that are kept for answers that another CPU records after them.
const ABORTS: usize = 1024;

/// Held answers and recent aborts, in order of arrival.
pub struct Answers {
    held: Recent<ResetRecord>,
    aborts: Recent<Abort>,
}

/// What an abort tells of the connection that it ended.
struct Abort {
    time_ns: u64,
    netns: u32,
    conn: ConnState,
    rcv_nxt: u32,
    snd_nxt: u32,
}

impl Abort {
    /// `None`: the record is not an active reset of a connection whose state and numbers are known.
    fn of(record: &ResetRecord) -> Option<Self> {
        let ResetRecord { time_ns, netns, conn, ref tcp, .. } = *record;
        let known = flags::CONN_STATE | flags::TCP;
        let active = record.kind == kind::SENT && record.flags & (flags::SKB | known) == known;
        active.then_some(Self { time_ns, netns, conn, rcv_nxt: tcp.rcv_nxt, snd_nxt: tcp.snd_nxt })
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self { held: Recent::new(CAPACITY), aborts: Recent::new(ABORTS) }
    }
}

impl Answers {
    /// Holds an answer; returns the oldest one if there is no room.
    pub fn hold(&mut self, answer: ResetRecord) -> Option<ResetRecord> {
        self.held.push(answer.flow, answer)
    }

    /// Releases the answers that an abort explains, with the connection that it ended.
    pub fn explained_by(&mut self, record: &ResetRecord) -> Vec<ResetRecord> {
        let Some(abort) = Abort::of(record) else { return Vec::new() };
        let answers = std::iter::from_fn(|| self.held.take(&record.flow, |answer| same_connection(answer, &abort)))
            .map(|answer| explained(&answer, &abort))
            .collect();
        self.aborts.push(record.flow, abort);
        answers
    }

    /// The answer with the connection of an abort that was recorded before it, if there is one.
    pub fn explained_before(&mut self, answer: &ResetRecord) -> Option<ResetRecord> {
        let abort = self.aborts.newest_mut(&answer.flow)?;
        let near = abort.time_ns.abs_diff(answer.time_ns) < nanos(HOLD);
        (near && same_connection(answer, abort)).then(|| explained(answer, abort))
    }

    /// Releases the answers whose hold has expired.
    pub fn expired(&mut self, now_ns: u64) -> Vec<ResetRecord> {
        let due = |answer: &ResetRecord| has_expired(answer, now_ns);
        std::iter::from_fn(|| self.held.pop_front_if(due)).collect()
    }

    /// Releases all answers.
    pub fn flush(&mut self) -> Vec<ResetRecord> {
        std::iter::from_fn(|| self.held.pop_front_if(|_| true)).collect()
    }

    /// Whether an answer is held.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Whether the answered segment belongs to the aborted connection. Ports are reused, and when a connection began may not have
/// been seen: the sequence numbers decide, as for tombstones (rstwatch-ebpf/src/conn_state/tombstones.rs).
fn same_connection(answer: &ResetRecord, abort: &Abort) -> bool {
    let (segment, began_ns) = (&answer.segment, abort.conn.established_ns);
    let fits = if segment.present & present::SEGMENT == 0 {
        began_ns != 0
    } else {
        let acknowledges = segment.flags & tcp_flag::ACK != 0;
        near(segment.seq, abort.rcv_nxt) && (!acknowledges || near(segment.ack, abort.snd_nxt))
    };
    answer.netns == abort.netns && began_ns <= answer.time_ns && fits
}

/// Whether two sequence numbers are of one connection: within 16 MiB, more than most windows.
fn near(left: u32, right: u32) -> bool {
    left.wrapping_sub(right).wrapping_add(1 << 24) < 1 << 25
}

fn explained(answer: &ResetRecord, abort: &Abort) -> ResetRecord {
    let flags = (answer.flags | flags::TOMBSTONE) & !flags::UNTRANSLATED;
    ResetRecord { conn: abort.conn, flags, ..*answer }
}

/// Whether the answered segment may belong to a connection that is being aborted: nothing is known of it, or a moment ago
/// it ended without FIN or RST or was aborted.
pub fn may_precede_abort(evidence: &Evidence) -> bool {
    let Evidence::Sent(Sent {
        answered: Some(answered),
        socket: SocketClass::NoSocket | SocketClass::Listener,
        end,
        untranslated: None,
        ..
    }) = evidence
    else {
        return false;
    };
    match end {
        None => !answered.syn && !answered.handshake,
        Some(end) => matches!(end.ending, Ending::Silent | Ending::Aborted(_)) && end.ago < HOLD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::of_record;
    use crate::testing::fixture::{self, NOW_NS};
    use rstwatch_common::record::{mark, state};

    const MS: u64 = 1_000_000;

    fn abort() -> ResetRecord {
        let mut abort = fixture::sent_active();
        abort.time_ns = NOW_NS + MS;
        abort
    }

    #[test]
    fn an_abort_explains_the_answers_before_it() {
        let mut answers = Answers::default();
        let answer = fixture::sent_answer();
        answers.hold(answer);
        answers.hold(answer);
        let explained = answers.explained_by(&abort());
        assert_eq!(explained.len(), 2);
        assert!(explained.iter().all(|answer| answer.conn.marks & mark::ABORTED != 0));
        assert!(explained.iter().all(|answer| answer.flags & flags::TOMBSTONE != 0));
        assert!(!answers.is_waiting());
    }

    /// The ring's order is not that of the events.
    #[test]
    fn an_abort_explains_an_answer_that_is_recorded_after_it() {
        let mut answers = Answers::default();
        assert!(answers.explained_by(&abort()).is_empty());
        let explained = answers.explained_before(&fixture::sent_answer()).expect("explained");
        assert!(explained.conn.marks & mark::ABORTED != 0);
        let mut later = fixture::sent_answer();
        later.time_ns = abort().time_ns + nanos(HOLD);
        assert!(answers.explained_before(&later).is_none());
    }

    #[test]
    fn another_connection_explains_nothing() {
        // The ports were used again at once. When that connection began was not seen.
        let mut later = abort();
        later.conn.established_ns = 0;
        let earlier = later;
        (later.tcp.rcv_nxt, later.tcp.snd_nxt) = (0x7000_0000, 0x3000_0000);
        let mut half = later;
        half.tcp.rcv_nxt = 0;
        let explains = |abort: &ResetRecord, answer: &ResetRecord| {
            Abort::of(abort).is_some_and(|abort| same_connection(answer, &abort))
        };
        assert!(explains(&earlier, &fixture::sent_answer()));
        let mut unread = fixture::sent_answer();
        unread.segment.present = 0;
        assert!(!explains(&earlier, &unread) && explains(&abort(), &unread));
        let mut younger = abort();
        younger.conn.established_ns = NOW_NS + MS;
        let mut elsewhere = abort();
        elsewhere.netns += 1;
        let mut other_port = abort();
        other_port.flow.remote_port += 1;
        let mut answer = abort();
        answer.flags |= flags::SKB;
        let mut unknown = abort();
        unknown.flags &= !flags::CONN_STATE;
        let mut answers = Answers::default();
        answers.hold(fixture::sent_answer());
        for other in [younger, elsewhere, other_port, answer, unknown, later, half] {
            assert!(answers.explained_by(&other).is_empty());
        }
        assert!(answers.expired(NOW_NS + nanos(HOLD) - 1).is_empty());
        assert_eq!(answers.expired(NOW_NS + nanos(HOLD)).len(), 1);
    }

    #[test]
    fn only_unexplained_answers_are_held() {
        let held = |record: &ResetRecord| may_precede_abort(&of_record(record, &fixture::context()));
        let unknown = fixture::sent_answer();
        assert!(held(&unknown));
        assert!(!held(&abort()), "an abort itself");
        let mut syn = unknown;
        syn.segment.flags = tcp_flag::SYN;
        assert!(!held(&syn), "a refusal");
        let mut untranslated = unknown;
        untranslated.flags |= flags::UNTRANSLATED;
        assert!(!held(&untranslated), "a live connection's");
        let mut silent = unknown;
        silent.flags |= flags::TOMBSTONE;
        silent.conn.old_state = state::ESTABLISHED;
        silent.conn.closed.time_ns = NOW_NS - MS;
        assert!(held(&silent));
        silent.conn.closed.time_ns = NOW_NS - nanos(HOLD);
        assert!(!held(&silent), "its abort would have come");
        silent.conn.closed.time_ns = NOW_NS - MS;
        silent.conn.marks = mark::ABORTED;
        assert!(held(&silent), "its tombstone may be half written");
        silent.conn.marks = mark::CLOSED_BY_OWNER;
        assert!(!held(&silent), "closed in order");
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut answers = Answers::default();
        let evicted = (0..2 * CAPACITY).filter_map(|_| answers.hold(fixture::sent_answer())).count();
        assert_eq!((answers.held.len(), evicted), (CAPACITY, CAPACITY));
        assert_eq!(answers.flush().len(), CAPACITY);
    }
}
