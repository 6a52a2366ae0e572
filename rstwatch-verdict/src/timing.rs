//! When in the life of its connection a reset came, and after which idle timeout. Reports and idle timeouts sum this up.

use std::time::Duration;

use crate::evidence::{Evidence, GAP, Gap, Reason, Received, Sent, is_timers};

/// The timing of one reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// When in the life of its connection the reset came.
    pub moment: Moment,
    /// The idle timeout that expired, if one did.
    pub timer: Option<Timer>,
    /// The sender's event was seen too: one RST, two events.
    pub repeats_sent: bool,
}

/// When in the life of a connection a reset came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// During the handshake.
    Connecting,
    /// In answer to the first operation after an idle gap.
    AfterIdle,
    /// During an idle gap, unprovoked.
    DuringIdle,
    /// While the connection was in use.
    Busy,
    /// The times were not seen.
    #[default]
    Unseen,
}

/// An idle timeout, as one connection showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The idle time.
    pub after: Duration,
    /// The timer was seen to fire; otherwise `after` is an upper bound.
    pub exact: bool,
}

impl Timer {
    /// Whether the idle time is a whole number of seconds, as programs set their timers.
    pub fn whole_seconds(self) -> bool {
        is_timers(self.after)
    }
}

/// The timing that the evidence shows.
pub fn of(evidence: &Evidence) -> Timing {
    match evidence {
        Evidence::Received(it) => {
            Timing { moment: received_moment(it), timer: received_timer(it), repeats_sent: it.sender_verdict.is_some() }
        }
        Evidence::Sent(it) => Timing { moment: sent_moment(it), timer: sent_timer(it), repeats_sent: false },
        Evidence::Firewall(it) => {
            let moment = if it.syn { Moment::Connecting } else { Moment::Unseen };
            Timing { moment, ..Timing::default() }
        }
    }
}

fn received_moment(it: &Received) -> Moment {
    let Gap { length, ended_by_us, .. } = it.gap;
    match (it.connecting, length) {
        (true, _) => Moment::Connecting,
        (false, None) => Moment::Unseen,
        (false, Some(_)) if !it.gap.is_idle() => Moment::Busy,
        (false, Some(_)) if ended_by_us => Moment::AfterIdle,
        (false, Some(_)) => Moment::DuringIdle,
    }
}

/// The peer's FIN, or its RST during the idle gap, shows the timer itself. An RST that answers us came some time later.
fn received_timer(it: &Received) -> Option<Timer> {
    // Where this end's role was not seen, a request may have been open.
    if it.connecting || !it.role_seen || !it.gap.was_idle_at_fin() {
        return None;
    }
    let (after, exact) = match it.gap {
        Gap { until_fin: Some(idle), .. } => (idle, true),
        Gap { length: Some(length), ended_by_us, .. } => (length, !ended_by_us),
        Gap { length: None, .. } => return None,
    };
    (!after.is_zero()).then_some(Timer { after, exact })
}

fn sent_moment(it: &Sent) -> Moment {
    let opening = it.answered.is_some_and(|segment| segment.syn || segment.handshake);
    match &it.end {
        _ if opening || it.reason == Reason::InvalidSyn => Moment::Connecting,
        None => Moment::Unseen,
        Some(end) => match end.idle {
            Some(idle) if idle >= GAP && it.answered.is_some() => Moment::AfterIdle,
            Some(idle) if idle >= GAP => Moment::DuringIdle,
            // A request or transfer was open, or had just ended.
            _ => Moment::Busy,
        },
    }
}

/// Our own timer: the idle time after which our side ended the connection.
fn sent_timer(it: &Sent) -> Option<Timer> {
    let idle = it.end.as_ref()?.idle?;
    (idle >= GAP).then_some(Timer { after: idle, exact: true })
}

#[cfg(test)]
mod tests {
    use rstwatch_common::record::{ResetRecord, flags, mark, role, state, tcp_flag};

    use super::*;
    use crate::evidence::of_record;
    use crate::testing::fixture::{NOW_NS, context, jiffies, received, sent_active, sent_answer};

    fn timing(record: &ResetRecord) -> Timing {
        of(&of_record(record, &context()))
    }

    fn timer(millis: u64, exact: bool) -> Option<Timer> {
        Some(Timer { after: Duration::from_millis(millis), exact })
    }

    /// Idle for a minute, with a request outstanding or not.
    fn idle(request: bool) -> ResetRecord {
        let mut idle = received();
        (idle.tcp.received_age, idle.tcp.ack_age) = (jiffies(60_000), jiffies(60_000));
        idle.tcp.sent_age = jiffies(if request { 0 } else { 60_000 });
        if request {
            idle.tcp.write_seq += 100;
            idle.tcp.snd_nxt += 100;
        }
        idle
    }

    #[test]
    fn each_moment_is_recognised() {
        let mut connecting = received();
        connecting.state = state::SYN_SENT;
        let mut refusing = sent_answer();
        refusing.segment.flags = tcp_flag::SYN;
        let mut role_unseen = idle(false);
        role_unseen.conn.role = role::UNKNOWN;
        let cases = [
            (connecting, Moment::Connecting, None),
            (refusing, Moment::Connecting, None),
            (sent_answer(), Moment::Unseen, None),
            (received(), Moment::Busy, None),
            (idle(true), Moment::AfterIdle, timer(60_000, false)),
            (role_unseen, Moment::DuringIdle, None),
            (idle(false), Moment::DuringIdle, timer(60_000, true)),
        ];
        for (index, (record, moment, timer)) in cases.into_iter().enumerate() {
            let found = timing(&record);
            assert_eq!((found.moment, found.timer, found.repeats_sent), (moment, timer, false), "case {index}");
        }
    }

    /// The FIN arrived 1.2 s before our request; the timer is the idle time before the FIN.
    #[test]
    fn a_fin_shows_the_timer() {
        let mut reaped = idle(true);
        reaped.state = state::CLOSE_WAIT;
        reaped.conn.role = role::CLIENT;
        reaped.conn.fin.time_ns = NOW_NS - 1_200_000_000;
        (reaped.conn.fin.sent_age, reaped.conn.fin.received_age) = (jiffies(58_800), jiffies(58_800));
        assert_eq!(timing(&reaped).timer, timer(58_800, true));
    }

    #[test]
    fn our_own_timer_is_exact() {
        let mut closed = sent_answer();
        closed.flags |= flags::TOMBSTONE;
        closed.conn = sent_active().conn;
        closed.conn.marks = mark::CLOSED_BY_OWNER;
        closed.conn.role = role::SERVER;
        (closed.conn.closing.time_ns, closed.conn.closed.time_ns) = (NOW_NS - 500_000_000, NOW_NS - 500_000_000);
        (closed.conn.closing.sent_age, closed.conn.closing.received_age) = (jiffies(75_000), jiffies(75_004));
        closed.conn.reset.time_ns = 0;
        let found = timing(&closed);
        assert_eq!((found.moment, found.timer), (Moment::AfterIdle, timer(75_000, true)));
    }
}
