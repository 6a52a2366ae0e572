//! Proof that the other end of a connection is on this host and did not send the RST.
//!
//! A socket that accepts an RST is alive until then and gone afterwards: it has sent no RST and sends none. If both ends
//! of one connection accept an RST, neither socket sent the other's. What remains is the stack of the end that was reset
//! first: without the socket it answers segments. Those have ACK set, so the answers are bare (RFC 9293 section 3.10.7.1).
//!
//! If only one end accepts an RST, the kernel side has looked at the other's socket: an end that is alive has sent none.

use rstwatch_common::record::{ResetRecord, flags, state, tcp_flag};

use super::{KEEP_SENT, nanos};
use crate::evidence;

/// The largest TCP window, in bytes (RFC 7323 section 2.3).
const MAX_WINDOW: u32 = 1 << 30;

/// Why the other end did not send an RST. Each holds only if no record was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// There would be a record of it, by the end of the hold.
    NoRecord,
    /// Its socket was alive after this RST and accepted one itself, or had accepted one and does not answer with this shape.
    Socket,
}

/// The proof in the record of a receive alone: the other end's socket was alive when this one accepted the RST. A socket sends an
/// RST after it was closed, except by a timer or a command: then its record follows (net/ipv4/tcp_timer.c, tcp_out_of_resources
/// and tcp_keepalive_timer; net/ipv4/tcp.c, tcp_abort).
pub(super) fn other_end_lives(record: &ResetRecord) -> Option<Proof> {
    (record.flags & flags::OTHER_END_ALIVE != 0 && accepted(record)).then_some(Proof::NoRecord)
}

/// Why the other end did not send the RST of each of two receives: of the first, of the second. They may be of different
/// connections.
pub(super) fn neither_sent(one: &ResetRecord, other: &ResetRecord) -> (Option<Proof>, Option<Proof>) {
    if one.time_ns > other.time_ns {
        let (other, one) = neither_sent(other, one);
        return (one, other);
    }
    if one.time_ns == other.time_ns || !are_ends_of_one_connection(one, other) {
        return (None, None);
    }
    let is_answer = evidence::rst_header(other).is_none_or(|rst| rst.flags & tcp_flag::ACK == 0);
    let second = match is_answer {
        false => Some(Proof::Socket),
        // Address translation can hide the record of an answer, which has one number only.
        true => (one.flow == other.flow.reversed()).then_some(Proof::NoRecord),
    };
    (Some(Proof::Socket), second)
}

/// Whether two records, the earlier first, are of the two ends of one connection, which both accepted an RST: each end
/// expects a number that the other has sent and not seen acknowledged, or is about to send.
fn are_ends_of_one_connection(earlier: &ResetRecord, later: &ResetRecord) -> bool {
    let is_expected = |sender: &ResetRecord, receiver: &ResetRecord| {
        let under_way = sender.tcp.snd_nxt.wrapping_sub(sender.tcp.snd_una);
        under_way <= MAX_WINDOW && receiver.tcp.rcv_nxt.wrapping_sub(sender.tcp.snd_una) <= under_way
    };
    let reused = later.conn.established_ns >= earlier.time_ns;
    accepted(earlier) && accepted(later) && !reused && is_expected(earlier, later) && is_expected(later, earlier)
}

/// Whether the socket of an established connection accepted an RST, and not data that the kernel treats like one.
fn accepted(record: &ResetRecord) -> bool {
    record.flags & flags::TCP != 0 && record.state != state::SYN_SENT && evidence::rst_header(record).is_some()
}

/// Resets that were lost, when they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Losses {
    /// Resets without a record since the start.
    pub count: u64,
    /// When they were counted, monotonic nanoseconds.
    pub time_ns: u64,
}

/// Reads the losses of the kernel side and of the daemon. `None`: RSTs of this host can be missing without being counted,
/// because a hook is not attached or a filter is set.
pub type ReadLosses = Box<dyn Fn() -> Option<Losses> + Send + Sync>;

/// Tells whether a record may have been lost around a reset. The losses are read only for a reset that asks.
#[derive(Default)]
pub struct LossWatch {
    read: Option<ReadLosses>,
    count: u64,
    /// The time by which that count had been reached, monotonic nanoseconds.
    reached_ns: u64,
}

impl LossWatch {
    /// With a reader of the losses; without one, any record may be lost.
    pub fn new(read: ReadLosses) -> Self {
        Self { read: Some(read), ..Self::default() }
    }

    /// Whether no record has been lost since the sender of this reset can have sent it.
    pub fn nothing_lost_since(&mut self, reset: &ResetRecord) -> bool {
        let Some(losses) = self.read.as_ref().and_then(|read| read()) else { return false };
        if losses.count != self.count {
            (self.count, self.reached_ns) = (losses.count, losses.time_ns);
        }
        self.count == 0 || self.reached_ns < reset.time_ns.saturating_sub(nanos(KEEP_SENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture::{self, NOW_NS};
    use rstwatch_common::record::present;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The two receives of a connection whose ends were reset one after the other.
    fn ends() -> (ResetRecord, ResetRecord) {
        let earlier = fixture::received();
        let mut later = earlier;
        later.time_ns += 1000;
        later.flow = earlier.flow.reversed();
        (later.tcp.snd_una, later.tcp.snd_nxt) = (4000, 5000);
        (later.tcp.rcv_nxt, later.segment.seq, later.segment.ack) = (900, 900, 5000);
        (earlier, later)
    }

    #[test]
    fn two_sockets_that_accepted_an_rst_sent_none() {
        let (earlier, later) = ends();
        assert_eq!(neither_sent(&earlier, &later), (SOCKET, SOCKET));
        assert_eq!(neither_sent(&later, &earlier), (SOCKET, SOCKET));
    }

    /// The stack of the end that was reset first may have answered a segment. Its record is found by the flow only.
    #[test]
    fn a_bare_rst_may_be_the_answer_of_the_first_ends_stack() {
        let (earlier, mut later) = ends();
        later.segment.flags = tcp_flag::RST;
        assert_eq!(neither_sent(&earlier, &later), (SOCKET, Some(Proof::NoRecord)));
        assert_eq!(neither_sent(&later, &earlier), (Some(Proof::NoRecord), SOCKET));
        later.flow.remote_port += 1;
        assert_eq!(neither_sent(&earlier, &later), (SOCKET, None));
    }

    #[test]
    fn a_socket_that_lives_has_sent_no_rst() {
        let mut record = fixture::received();
        assert_eq!(other_end_lives(&record), None);
        record.flags |= flags::OTHER_END_ALIVE;
        assert_eq!(other_end_lives(&record), Some(Proof::NoRecord));
        record.segment.present &= !present::SEGMENT;
        assert_eq!(other_end_lives(&record), None, "it may be data that the kernel treats like an RST");
    }

    const SOCKET: Option<Proof> = Some(Proof::Socket);

    type Change = fn(&mut ResetRecord);

    #[test]
    fn other_connections_prove_nothing() {
        let changes: [(&str, Change); 8] = [
            ("sent less", |later| later.tcp.snd_nxt = 4999),
            ("has seen more acknowledged", |later| later.tcp.snd_una = 5001),
            ("expects more", |later| (later.tcp.rcv_nxt, later.segment.seq) = (901, 901)),
            ("expects less", |later| (later.tcp.rcv_nxt, later.segment.seq) = (899, 899)),
            ("reused ports", |later| later.conn.established_ns = NOW_NS + 500),
            ("no header", |later| later.segment.present &= !present::SEGMENT),
            ("no numbers", |later| later.flags &= !flags::TCP),
            ("the same time", |later| later.time_ns = NOW_NS),
        ];
        for (what, change) in changes {
            let (earlier, mut later) = ends();
            change(&mut later);
            assert_eq!(neither_sent(&earlier, &later), (None, None), "{what}");
        }
        let (mut earlier, later) = ends();
        earlier.state = state::SYN_SENT;
        assert_eq!(neither_sent(&earlier, &later), (None, None), "refused");
    }

    #[test]
    fn a_loss_spoils_the_resets_around_it() {
        let second = nanos(KEEP_SENT) / 2;
        let (count, now) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(NOW_NS)));
        let read = {
            let (count, now) = (Arc::clone(&count), Arc::clone(&now));
            move || Some(Losses { count: count.load(Ordering::Relaxed), time_ns: now.load(Ordering::Relaxed) })
        };
        let mut watch = LossWatch::new(Box::new(read));
        let mut at = |seconds: u64| {
            now.store(NOW_NS + seconds * second, Ordering::Relaxed);
            watch.nothing_lost_since(&ResetRecord { time_ns: NOW_NS + seconds * second, ..fixture::received() })
        };
        assert!(at(0));
        count.store(3, Ordering::Relaxed);
        assert!(!at(10), "lost since the last reading");
        assert!(!at(12), "an RST that was sent before the loss was counted may arrive as late as this");
        assert!(at(13));
    }

    #[test]
    fn what_cannot_be_read_may_be_lost() {
        assert!(!LossWatch::default().nothing_lost_since(&fixture::received()));
        assert!(!LossWatch::new(Box::new(|| None)).nothing_lost_since(&fixture::received()));
    }
}
