//! Signs that an RST was made by a device on the path, in the peer's name. None is proof by itself: they are scored.

use std::time::Duration;

use rstwatch_common::record::{ResetRecord, Segment, present, state, tcp_flag};

/// From here on: not sent by the peer's stack.
pub const NOT_THE_PEER: i32 = 4;
/// From here on: possibly an intermediate device.
pub const DOUBTFUL: i32 = 2;

/// The initial TTLs and hop limits that stacks use.
const INITIAL_TTLS: [u8; 3] = [64, 128, 255];
/// Paths of the Internet are shorter than this; a TTL this far below every initial value was set by hand.
const MAX_HOPS: u8 = 32;

/// One sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An initial TTL that no hop has decremented, though the peer is at least one hop away.
    MadeOnThisLink {
        /// The RST's.
        ttl: u8,
        /// Of the peer's handshake.
        expected: u8,
    },
    /// A TTL that no path length explains.
    ImplausibleTtl {
        /// The RST's.
        ttl: u8,
        /// Of the peer's handshake.
        expected: u8,
    },
    /// Another number of hops, by two or more.
    OtherHops {
        /// The RST's.
        ttl: u8,
        /// Of the peer's handshake.
        expected: u8,
    },
    /// Sooner than half the smallest round trip after what it would answer.
    TooSoon {
        /// After our oldest unacknowledged segment.
        delay: Duration,
        /// Smallest round trip seen.
        rtt: Duration,
    },
    /// The peer sent payload that lies beyond the RST: it had not aborted.
    DataContinued,
    /// More RSTs followed, each ahead of the one before.
    Repeated,
    /// A segment that drew a challenge ACK came shortly before: an RST with a wrong sequence number, or a SYN.
    Challenged,
    /// A bare RST whose sequence number we have never acknowledged: it answers nothing of ours, and a live socket's RST is
    /// not bare.
    NeverAcknowledged,
    /// A bare RST while nothing was outstanding: a Linux stack does not volunteer one.
    Unprovoked,
    /// No timestamp, on a connection that negotiated them (a live Linux socket would carry one).
    NoTimestamp,
    /// TTL, timestamp and shape are a live socket's of the peer.
    LikeThePeer,
    /// Its timestamp goes on from the peer's last one, as the time that has passed: whoever made it has the peer's clock.
    TimestampFits,
    /// TTL and delay are those of the peer's stack.
    AnswerOfThePeer,
}

impl Signal {
    /// Points for "not the peer".
    pub fn points(self) -> i32 {
        match self {
            // More than a perfect disguise takes back: then it stays open.
            Self::DataContinued => 6,
            // A peer that has aborted sends nothing ahead of its RST; injectors send bursts.
            Self::MadeOnThisLink { .. } | Self::Repeated => 4,
            Self::ImplausibleTtl { .. } | Self::NeverAcknowledged => 3,
            Self::OtherHops { .. } | Self::TooSoon { .. } => 2,
            Self::Unprovoked | Self::NoTimestamp | Self::Challenged => 1,
            Self::AnswerOfThePeer => -2,
            Self::LikeThePeer | Self::TimestampFits => -4,
        }
    }
}

/// The signs in one RST.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgery {
    /// Signs for and against.
    pub signals: Vec<Signal>,
    /// It came with the TTL of the peer's handshake.
    pub same_ttl: bool,
    /// The RST is what a netfilter REJECT or a Linux stack without the connection answers.
    pub reject_shape: bool,
}

impl Forgery {
    /// Sum of the points.
    pub fn score(&self) -> i32 {
        self.signals.iter().map(|signal| signal.points()).sum()
    }

    /// Not sent by the peer's stack.
    pub fn not_the_peer(&self) -> bool {
        self.score() >= NOT_THE_PEER
    }

    /// Possibly an intermediate device. A live Linux socket's RST has its timestamp; some other stacks' have not (RFC 7323
    /// section 3.2 only recommends it), so the want of it proves nothing, but leaves it open.
    pub fn doubtful(&self) -> bool {
        self.score() >= DOUBTFUL || self.signals.contains(&Signal::NoTimestamp)
    }
}

impl Forgery {
    /// What came after the RST, while its record waited.
    pub fn add_aftermath(&mut self, aftermath: Aftermath) {
        self.signals.extend(aftermath.data_beyond.then_some(Signal::DataContinued));
        self.signals.extend(aftermath.repeated.then_some(Signal::Repeated));
    }
}

/// What the connection's own flow brought after the RST that ended it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// Payload of the peer's beyond the RST's sequence number.
    pub data_beyond: bool,
    /// RSTs ahead of the one that was accepted.
    pub repeated: bool,
}

/// Whether a segment brings payload beyond an RST: whoever sent it had not aborted there.
pub fn is_beyond(segment: &Segment, rst: &Segment) -> bool {
    let ahead = segment.seq.wrapping_add(segment.payload).wrapping_sub(rst.seq);
    let carries = segment.payload > 0 && segment.flags & (tcp_flag::RST | tcp_flag::SYN) == 0;
    // More than a window ahead is another connection's.
    carries && ahead > 0 && ahead < 1 << 24
}

/// What a netfilter REJECT answers, and a Linux stack that does not know the connection.
pub(super) fn is_reject_shaped(rst: &Segment) -> bool {
    rst.flags & tcp_flag::ACK == 0 && rst.window == 0 && rst.ip_id == 0
}

pub(super) fn score(record: &ResetRecord, rst: &Segment, outstanding: bool, elapsed: Option<Duration>) -> Forgery {
    let mut signals = Vec::new();
    let expected = record.conn.ttl;
    let same_ttl = rst.ttl == expected;
    signals.extend(ttl_signal(rst.ttl, expected));
    signals.extend(shape_signals(record, rst, outstanding, same_ttl));
    signals.extend(timestamp_fits(record, rst, elapsed).then_some(Signal::TimestampFits));
    Forgery { signals, same_ttl, reject_shape: is_reject_shaped(rst) }
}

/// Whether the RST's timestamp goes on from the peer's last one in step with the time since then. Most clocks tick in
/// milliseconds (RFC 7323 section 5.4 allows 1 ms to 1 s); one that does not is no sign, either way.
fn timestamp_fits(record: &ResetRecord, rst: &Segment, elapsed: Option<Duration>) -> bool {
    let (Some(elapsed), true) = (elapsed, rst.present & present::TIMESTAMPS != 0 && record.tcp.ts_recent != 0) else {
        return false;
    };
    let ticks = u64::from(rst.tsval.wrapping_sub(record.tcp.ts_recent));
    let passed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    ticks <= passed.saturating_add(1000) && ticks >= (passed / 2).saturating_sub(1000)
}

/// What the TTL says against the handshake's; 0: not seen.
fn ttl_signal(ttl: u8, expected: u8) -> Option<Signal> {
    if ttl == 0 || expected == 0 || ttl == expected {
        return None;
    }
    let (hops, peer_hops) = (hops(ttl), hops(expected));
    // The peer itself sets its TTL by hand: BGP between neighbours uses 1. Then it is no measure of its path.
    if peer_hops > MAX_HOPS {
        return None;
    }
    if INITIAL_TTLS.contains(&ttl) && peer_hops > 0 {
        Some(Signal::MadeOnThisLink { ttl, expected })
    } else if hops > MAX_HOPS {
        Some(Signal::ImplausibleTtl { ttl, expected })
    } else if hops.abs_diff(peer_hops) >= 2 {
        Some(Signal::OtherHops { ttl, expected })
    } else {
        // Another initial value on a path of the same length, give or take one for equal-cost routes.
        None
    }
}

/// Hops behind a TTL, from the next initial value above it.
fn hops(ttl: u8) -> u8 {
    INITIAL_TTLS.iter().find(|initial| **initial >= ttl).map_or(0, |initial| initial - ttl)
}

fn shape_signals(record: &ResetRecord, rst: &Segment, outstanding: bool, same_ttl: bool) -> Vec<Signal> {
    let mut signals = Vec::new();
    if record.state == state::SYN_SENT {
        return signals;
    }
    let bare = rst.flags & tcp_flag::ACK == 0;
    let timestamps = rst.present & present::TIMESTAMPS != 0;
    let negotiated = record.tcp.ts_recent != 0;
    let delay = Duration::from_nanos(record.tcp.rtx_age_ns);
    let rtt = Duration::from_micros(record.tcp.rtt_min_us.into());
    // After a retransmission the time of the first copy, which the peer may have answered, is gone.
    let too_soon = outstanding && record.tcp.retransmits == 0 && !delay.is_zero() && delay < rtt / 2;
    if too_soon && rtt >= MEASURABLE_RTT {
        signals.push(Signal::TooSoon { delay, rtt });
    }
    let challenged = challenge_age(record);
    signals.extend(challenged.map(|_| Signal::Challenged));
    // Our FIN draws an answer too, and so does a probe, or a challenge ACK: but no sooner than it can have come back.
    let nothing_sent = record.tcp.rtx_age_ns == 0 && record.tcp.snd_una == record.tcp.write_seq;
    let answers_challenge = challenged.is_some_and(|age| age >= rtt / 2);
    if bare && nothing_sent && record.tcp.probes_out == 0 && !answers_challenge {
        signals.push(Signal::Unprovoked);
    }
    // Every segment that acknowledges moves rcv_wup (net/ipv4/tcp_output.c, tcp_select_window).
    let acknowledged = record.tcp.rcv_wup;
    if bare && nothing_sent && acknowledged != 0 && rst.seq.wrapping_sub(acknowledged).wrapping_sub(1) < 1 << 24 {
        signals.push(Signal::NeverAcknowledged);
    }
    if !bare && negotiated && !timestamps {
        signals.push(Signal::NoTimestamp);
    }
    if !bare && same_ttl && timestamps == negotiated && rst.window > 0 {
        signals.push(Signal::LikeThePeer);
    }
    if bare && same_ttl && outstanding && !too_soon {
        signals.push(Signal::AnswerOfThePeer);
    }
    signals
}

/// A challenge ACK draws its answer within so long.
const CHALLENGE: Duration = Duration::from_secs(2);

/// How long before the RST another segment was answered with a challenge ACK, if shortly. Before data have come that may
/// have been the handshake's SYN-ACK once more.
fn challenge_age(record: &ResetRecord) -> Option<Duration> {
    let age = Duration::from_nanos(record.time_ns.saturating_sub(record.conn.challenge.time_ns));
    let challenged = record.conn.challenge.count > 0 && record.tcp.data_segs_in > 0;
    (challenged && age < CHALLENGE).then_some(age)
}

/// Below this, scheduling noise is as long as half a round trip.
const MEASURABLE_RTT: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_signs_and_their_guards() {
        let cases = [
            (64, 63, "MadeOnThisLink"),
            (128, 63, "MadeOnThisLink"),
            (255, 118, "MadeOnThisLink"),
            (200, 63, "ImplausibleTtl"),
            (58, 52, "OtherHops"),
            (63, 63, "none"),
            (64, 64, "none"),
            // One hop: equal-cost routes, a container one hop nearer.
            (62, 63, "none"),
            (63, 62, "none"),
            // The initial value changed, the path did not: a proxy answered the SYN, a backend of another make resets.
            (127, 63, "none"),
            (254, 63, "none"),
            // Peer on this very link with another initial value: nothing was decremented on either.
            (255, 64, "none"),
            // Nothing to compare with.
            (64, 0, "none"),
            // Set by hand.
            (64, 1, "none"),
            (255, 1, "none"),
        ];
        for (ttl, expected, sign) in cases {
            let found = ttl_signal(ttl, expected).map_or("none".into(), |signal| format!("{signal:?}"));
            assert!(found.starts_with(sign), "{ttl} against {expected}: {found}");
        }
    }
}
