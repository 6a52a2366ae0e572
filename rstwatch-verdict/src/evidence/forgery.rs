//! Signs that a device on the path sent an RST in the peer's name. None is proof by itself, so they are scored.

use std::time::Duration;

use rstwatch_common::record::{CHALLENGE_NS, ResetRecord, Segment, flags, present, role, state, tcp_flag};

use super::facts;

/// Score from which a device on the path sent the RST.
const DEVICE: i32 = 4;
/// Score from which the signs conflict.
const CONFLICT: i32 = 2;

/// Points of one sign from which nothing outweighs it.
const STRONG: i32 = 3;

/// Who the signs point to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The peer's stack: nothing outweighs the signs for it.
    Peer,
    /// A device on the path.
    Device,
    /// The signs conflict.
    Open,
}

/// Linux's initial TTL (`IPDEFTTL`, include/uapi/linux/ip.h).
const LINUX_TTL: u8 = 64;
/// Hops from which a client is on another network: those of a cluster or a data centre are fewer apart.
const DISTANT: u8 = 4;
/// The initial TTLs and hop limits that stacks use.
const INITIAL_TTLS: [u8; 3] = [64, 128, 255];
/// Internet paths are shorter than this. A TTL this far below every initial value was set explicitly.
const MAX_HOPS: u8 = 32;

/// One sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An initial TTL that no hop has decremented, though the peer is at least one hop away.
    MadeOnThisLink {
        /// The RST's TTL.
        ttl: u8,
        /// The peer's, in the handshake.
        expected: u8,
    },
    /// A TTL that no path length explains.
    ImplausibleTtl {
        /// The RST's TTL.
        ttl: u8,
        /// The peer's, in the handshake.
        expected: u8,
    },
    /// Another initial value and another number of hops: another stack at another distance.
    OtherStack {
        /// The RST's TTL.
        ttl: u8,
        /// The peer's, in the handshake.
        expected: u8,
    },
    /// The number of hops differs by two or more.
    OtherHops {
        /// The RST's TTL.
        ttl: u8,
        /// The peer's, in the handshake.
        expected: u8,
    },
    /// Less than half the smallest round trip after the segment that it would answer.
    TooSoon {
        /// Time after our oldest unacknowledged segment.
        delay: Duration,
        /// The smallest round trip seen.
        rtt: Duration,
    },
    /// The peer sent payload beyond the RST, so it had not aborted.
    DataContinued,
    /// More RSTs followed, each with a higher sequence number.
    Repeated,
    /// A segment that drew a challenge ACK arrived shortly before: an RST with a wrong sequence number, or a SYN.
    Challenged,
    /// What drew the challenge ACK was an RST with a wrong number: a blind attempt.
    ChallengedByRst,
    /// The bare RST was unprovoked although the connection was in use a moment before.
    InUse,
    /// A bare RST with a sequence number that we have never acknowledged: it answers no segment of ours, and a live
    /// socket's RST is not bare.
    NeverAcknowledged,
    /// A bare RST while nothing was outstanding: a Linux stack sends one only as an answer.
    Unprovoked,
    /// No timestamp, on a connection that negotiated them: a live Linux socket sends one, other stacks may not.
    NoTimestamp {
        /// The peer may well have such a stack: it is a distant client, or its initial TTL is not that of Linux.
        usual: bool,
    },
    /// An RST with ACK that acknowledges what this host never sent: a live socket acknowledges what it has received.
    ImpossibleAck,
    /// Payload. Stacks send none with an RST, though RFC 9293 section 3.5.3 allows it.
    Payload,
    /// A bare RST with a timestamp: stacks answer for an unknown connection without options.
    BareWithTimestamp,
    /// TTL, timestamp and shape are those of a live socket of the peer.
    LikeThePeer,
    /// Its timestamp continues the peer's in step with the elapsed time: the sender has the peer's clock.
    TimestampFits,
    /// TTL and delay are those of the peer's stack.
    AnswerOfThePeer,
}

impl Signal {
    /// Points against the peer as the sender. docs/design/sender.md gives the reason and source of each.
    pub fn points(self) -> i32 {
        match self {
            // More than the points for a perfect imitation, so the sender stays undecided.
            Self::DataContinued => 6,
            // A peer that has aborted sends nothing beyond its RST; injectors send bursts.
            Self::MadeOnThisLink { .. } | Self::ImplausibleTtl { .. } | Self::Repeated | Self::ImpossibleAck => 4,
            Self::OtherStack { .. } | Self::NeverAcknowledged | Self::Payload => 3,
            Self::BareWithTimestamp | Self::ChallengedByRst | Self::NoTimestamp { usual: false } => 2,
            Self::OtherHops { .. } | Self::TooSoon { .. } => 2,
            Self::Unprovoked | Self::InUse | Self::NoTimestamp { usual: true } | Self::Challenged => 1,
            Self::AnswerOfThePeer => -2,
            Self::LikeThePeer | Self::TimestampFits => -4,
        }
    }
}

/// The signs in one RST.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgery {
    /// Signs for and against the peer as the sender.
    pub signals: Vec<Signal>,
    /// It has the TTL of the peer's handshake.
    pub same_ttl: bool,
    /// The TTL of the RST or of the peer's handshake was not seen.
    pub ttl_unseen: bool,
    /// It has ACK set, as the abort of a live socket.
    pub aborts: bool,
    /// It has the shape of a netfilter REJECT, or of a Linux stack that does not know the connection.
    pub reject_shape: bool,
    /// The peer was seen to send it, so the signs tell nothing.
    pub traced: bool,
}

impl Forgery {
    /// Sum of the points.
    pub fn score(&self) -> i32 {
        self.signals.iter().map(|signal| signal.points()).sum()
    }

    /// Who sent it, as far as the signs tell. Data beyond the RST excludes the peer's socket, whatever speaks for it: a
    /// socket aborts with the number after its last byte. A strong sign and an imitation of the peer do not cancel each other.
    pub fn origin(&self) -> Origin {
        let has = |signal| self.signals.contains(&signal);
        // A firewall on the peer's host rejects in the peer's name, at its distance, while the peer's socket lives.
        let at_peers_distance = self.same_ttl || self.ttl_unseen;
        let peers_firewall = has(Signal::DataContinued) && at_peers_distance && self.reject_shape;
        match self.score() {
            _ if self.traced => Origin::Peer,
            _ if has(Signal::DataContinued) && self.aborts => Origin::Device,
            _ if peers_firewall && !has(Signal::NeverAcknowledged) => Origin::Open,
            DEVICE.. => Origin::Device,
            CONFLICT.. => Origin::Open,
            _ if has(Signal::DataContinued) || self.is_imitation() => Origin::Open,
            _ => Origin::Peer,
        }
    }
}

impl Forgery {
    /// Whether a strong sign is against the peer, though something that only the peer or an imitation has is in its favour.
    fn is_imitation(&self) -> bool {
        let points = || self.signals.iter().map(|signal| signal.points());
        points().any(|points| points >= STRONG) && points().any(|points| points <= -STRONG)
    }

    /// Whether any sign is the peer's: its TTL, or more.
    pub fn speaks_for_the_peer(&self) -> bool {
        self.same_ttl || self.signals.iter().any(|signal| signal.points() < 0)
    }

    /// Adds that the connection was in use a moment before.
    pub fn add_use(&mut self) {
        let unprovoked = self.signals.contains(&Signal::Unprovoked);
        self.signals.extend(unprovoked.then_some(Signal::InUse));
    }

    /// Adds what followed the RST while its record was held.
    pub fn add_aftermath(&mut self, aftermath: Aftermath) {
        self.signals.extend(aftermath.data_beyond.then_some(Signal::DataContinued));
        self.signals.extend(aftermath.repeated.then_some(Signal::Repeated));
    }
}

/// What arrived on the flow after the RST that ended the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// Payload from the peer beyond the RST's sequence number.
    pub data_beyond: bool,
    /// RSTs with higher sequence numbers than the accepted one.
    pub repeated: bool,
}

/// Whether a segment carries payload beyond an RST: its sender had not aborted at that sequence number.
pub fn is_beyond(segment: &Segment, rst: &Segment) -> bool {
    let ahead = segment.seq.wrapping_add(segment.payload).wrapping_sub(rst.seq);
    let carries = segment.payload > 0 && segment.flags & (tcp_flag::RST | tcp_flag::SYN) == 0;
    // More than a window ahead: a segment of another connection.
    carries && ahead > 0 && ahead < 1 << 24
}

/// Whether an RST has the shape of a netfilter REJECT, or of a Linux stack that does not know the connection.
pub(super) fn is_reject_shaped(rst: &Segment) -> bool {
    rst.flags & tcp_flag::ACK == 0 && rst.window == 0 && rst.ip_id == 0
}

/// What the score needs besides the record.
pub(super) struct Situation {
    /// Data of ours is outstanding.
    pub outstanding: bool,
    /// Time since anything came from the peer.
    pub heard: Option<Duration>,
    /// Time since payload came from the peer.
    pub received: Option<Duration>,
}

pub(super) fn score(record: &ResetRecord, rst: &Segment, situation: &Situation) -> Forgery {
    let mut signals = Vec::new();
    let expected = record.conn.ttl;
    let same_ttl = expected != 0 && rst.ttl == expected;
    signals.extend(ttl_signal(rst.ttl, expected));
    signals.extend(shape_signals(record, rst, situation, same_ttl));
    signals.extend(timestamp_fits(record, rst, situation.heard).then_some(Signal::TimestampFits));
    Forgery {
        signals,
        same_ttl,
        ttl_unseen: expected == 0 || rst.ttl == 0,
        aborts: rst.flags & tcp_flag::ACK != 0 && record.state != state::SYN_SENT,
        reject_shape: is_reject_shaped(rst),
        traced: false,
    }
}

/// Whether the RST's timestamp continues the peer's last one in step with the elapsed time. Most clocks tick in
/// milliseconds (RFC 7323 section 5.4 allows 1 ms to 1 s); another rate is a sign for neither.
fn timestamp_fits(record: &ResetRecord, rst: &Segment, elapsed: Option<Duration>) -> bool {
    let (Some(elapsed), true) = (elapsed, rst.present & present::TIMESTAMPS != 0 && record.tcp.ts_recent != 0) else {
        return false;
    };
    let ticks = u64::from(rst.tsval.wrapping_sub(record.tcp.ts_recent));
    let passed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    ticks <= passed.saturating_add(1000) && ticks >= (passed / 2).saturating_sub(1000)
}

/// Compares the TTL with the handshake's; 0: not seen.
fn ttl_signal(ttl: u8, expected: u8) -> Option<Signal> {
    if ttl == 0 || expected == 0 || ttl == expected {
        return None;
    }
    let (hops, peer_hops) = (hops(ttl), hops(expected));
    // The peer sets its TTL explicitly, as BGP does (1 between neighbours), so it says nothing about the path.
    if peer_hops >= MAX_HOPS {
        return None;
    }
    if INITIAL_TTLS.contains(&ttl) && peer_hops > 0 {
        Some(Signal::MadeOnThisLink { ttl, expected })
    } else if hops > MAX_HOPS {
        Some(Signal::ImplausibleTtl { ttl, expected })
    } else if hops.abs_diff(peer_hops) >= 2 {
        let same_initial = initial(ttl) == initial(expected);
        Some(if same_initial { Signal::OtherHops { ttl, expected } } else { Signal::OtherStack { ttl, expected } })
    } else {
        // Another initial value on a path of the same length, within one hop for equal-cost routes.
        None
    }
}

/// The number of hops that a TTL implies.
fn hops(ttl: u8) -> u8 {
    initial(ttl) - ttl
}

/// The initial value that a TTL comes from: the next one above it.
fn initial(ttl: u8) -> u8 {
    INITIAL_TTLS.into_iter().find(|initial| *initial >= ttl).unwrap_or(ttl)
}

fn shape_signals(record: &ResetRecord, rst: &Segment, situation: &Situation, same_ttl: bool) -> Vec<Signal> {
    let mut signals = Vec::new();
    let outstanding = situation.outstanding;
    if record.state == state::SYN_SENT {
        return signals;
    }
    let bare = rst.flags & tcp_flag::ACK == 0;
    let timestamps = rst.present & present::TIMESTAMPS != 0;
    let negotiated = record.tcp.ts_recent != 0;
    let delay = Duration::from_nanos(record.tcp.rtx_age_ns);
    let rtt = Duration::from_micros(record.tcp.rtt_min_us.into());
    // After a retransmission the time of the first copy, which the peer may have answered, is unknown.
    let too_soon = outstanding && record.tcp.retransmits == 0 && !delay.is_zero() && delay < rtt / 2;
    if too_soon && rtt >= MEASURABLE_RTT {
        signals.push(Signal::TooSoon { delay, rtt });
    }
    let challenged = challenge_age(record);
    signals.extend(challenged.map(|_| Signal::Challenged));
    // Only a client opens connections, so no SYN of the peer's drew it.
    let by_rst = record.conn.role == role::CLIENT || record.conn.challenge.count > 1;
    signals.extend(challenged.filter(|_| by_rst).map(|_| Signal::ChallengedByRst));
    // Our FIN, a probe or a challenge ACK draws an answer too, but no sooner than half a round trip later.
    let nothing_sent = record.tcp.rtx_age_ns == 0 && record.tcp.snd_una == record.tcp.write_seq;
    let answers_challenge = challenged.is_some_and(|age| age >= rtt / 2);
    // So does our ACK of payload: the peer sent it, then aborted, and its one RST overtook it. On a short path only: there half a
    // round trip is not longer than the noise of scheduling.
    let after_challenge = challenged.zip(situation.received).is_some_and(|(age, received)| received <= age + CLOCK);
    let overtaken = after_challenge && record.conn.challenge.count == 1 && rtt < MEASURABLE_RTT;
    // So does the ACK of the peer's FIN, which may have come at any time before the agent started.
    let fin_ago = facts::since(record, record.conn.fin.time_ns);
    let answers_fin_ack = facts::peer_closed(record) && fin_ago.is_none_or(|age| age < FIN_ACK);
    if bare && nothing_sent && record.tcp.probes_out == 0 && !answers_challenge && !overtaken && !answers_fin_ack {
        signals.push(Signal::Unprovoked);
    }
    // Every segment with an ACK advances rcv_wup (net/ipv4/tcp_output.c, tcp_select_window).
    let acknowledged = record.tcp.rcv_wup;
    if bare && nothing_sent && acknowledged != 0 && rst.seq.wrapping_sub(acknowledged).wrapping_sub(1) < 1 << 24 {
        signals.push(Signal::NeverAcknowledged);
    }
    if !bare && negotiated && !timestamps {
        signals.push(Signal::NoTimestamp { usual: may_omit_timestamps(record) });
    }
    signals.extend((!bare && !acknowledges_ours(record, rst)).then_some(Signal::ImpossibleAck));
    signals.extend((rst.payload > 0).then_some(Signal::Payload));
    signals.extend((bare && timestamps).then_some(Signal::BareWithTimestamp));
    if !bare && same_ttl && timestamps == negotiated && rst.window > 0 && acknowledges_ours(record, rst) {
        signals.push(Signal::LikeThePeer);
    }
    if bare && same_ttl && outstanding && !too_soon {
        signals.push(Signal::AnswerOfThePeer);
    }
    signals
}

/// Whether the peer's stack may well be one that sends RSTs without a timestamp, as RFC 7323 section 3.2 allows: those of
/// Apple's systems, NetBSD and DragonFly (bsd/netinet/tcp_output.c of XNU: not with `TH_RST`). Among distant clients they
/// are common. Servers and the clients of the same network, with Linux's initial TTL, are mostly Linux.
///
/// Where the TTL of the handshake was not seen, nothing excludes a device: two points leave the sender open.
fn may_omit_timestamps(record: &ResetRecord) -> bool {
    let ttl = record.conn.ttl;
    let distant_client = record.conn.role == role::SERVER && hops(ttl) >= DISTANT;
    ttl != 0 && (distant_client || initial(ttl) != LINUX_TTL)
}

/// Whether the acknowledgement number is one that a live socket of the peer can have: at most what this host has sent,
/// and not far behind what the peer had acknowledged (the RST may have overtaken an ACK).
fn acknowledges_ours(record: &ResetRecord, rst: &Segment) -> bool {
    let seen = record.flags & flags::TCP != 0;
    !seen || record.tcp.snd_nxt.wrapping_sub(rst.ack) < MAX_WINDOW
}

/// The largest window (RFC 7323 section 2.3).
const MAX_WINDOW: u32 = 1 << 30;

/// The longest time for the answer to the ACK of a FIN, which is sent at once.
const FIN_ACK: Duration = Duration::from_secs(1);

/// Jiffies are at most this long.
const CLOCK: Duration = Duration::from_millis(10);

/// The longest time for the answer to a challenge ACK.
const CHALLENGE: Duration = Duration::from_nanos(CHALLENGE_NS);

/// Time from the last challenge ACK to the RST, if short. Before any data arrived at a client, a repeated SYN-ACK of
/// the handshake may have drawn it.
fn challenge_age(record: &ResetRecord) -> Option<Duration> {
    let age = Duration::from_nanos(record.time_ns.saturating_sub(record.conn.challenge.time_ns));
    let past_handshake = record.tcp.data_segs_in > 0 || record.conn.role == role::SERVER;
    let challenged = record.conn.challenge.count > 0 && past_handshake;
    (challenged && age < CHALLENGE).then_some(age)
}

/// Below this, scheduling noise is as long as half a round trip.
const MEASURABLE_RTT: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_signs_and_their_exceptions() {
        let cases = [
            (64, 63, "MadeOnThisLink"),
            (128, 63, "MadeOnThisLink"),
            (255, 118, "MadeOnThisLink"),
            (200, 63, "ImplausibleTtl"),
            (58, 52, "OtherHops"),
            // A load balancer's or a NAT gateway's stack.
            (250, 63, "OtherStack"),
            (63, 63, "none"),
            (64, 64, "none"),
            // One hop of difference: equal-cost routes, or a container one hop nearer.
            (62, 63, "none"),
            (63, 62, "none"),
            // Another initial value on the same path: a proxy answered the SYN, a backend with another stack resets.
            (127, 63, "none"),
            (254, 63, "none"),
            // A peer on this link with two initial values: neither was decremented.
            (255, 64, "none"),
            // The handshake's TTL was not seen.
            (64, 0, "none"),
            // Set explicitly by the peer.
            (64, 1, "none"),
            (255, 1, "none"),
        ];
        for (ttl, expected, sign) in cases {
            let found = ttl_signal(ttl, expected).map_or("none".into(), |signal| format!("{signal:?}"));
            assert!(found.starts_with(sign), "{ttl} against {expected}: {found}");
        }
    }
}
