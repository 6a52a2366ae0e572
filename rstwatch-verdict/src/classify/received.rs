//! Predicates and sentences for resets that a socket of this host accepted.

use std::time::Duration;

use crate::evidence::{Evidence, Origin, Received, Shape, Signal, is_timeout};
use crate::text::length;

/// The answer to the ACK of a FIN arrives within a round trip, which is shorter than this.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Said of a client that waited for a whole number of seconds.
const GAVE_UP: &str = ": most likely the client gave up";
/// Up to this age a connection is just established, SYN-ACK retransmissions included.
const YOUNG: Duration = Duration::from_secs(5);

pub(super) fn received(evidence: &Evidence) -> Option<&Received> {
    match evidence {
        Evidence::Received(received) => Some(received),
        _ => None,
    }
}

fn holds(evidence: &Evidence, predicate: impl Fn(&Received) -> bool) -> bool {
    received(evidence).is_some_and(predicate)
}

fn from_device(it: &Received) -> bool {
    it.other_end_silent || it.forgery.origin() == Origin::Device
}

// Connection attempts.

pub(super) fn refused(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.connecting)
}

/// A firewall's reject has this shape, and so has the answer of a host whose container is gone.
pub(super) fn say_refused(evidence: &Evidence) -> String {
    match received(evidence).filter(|it| from_device(it)) {
        Some(it) => format!("the RST answered this host's SYN from nearer than the server: {}", say_against(it)),
        None => "the RST answered this host's SYN: nothing listens there, or a firewall rejects".into(),
    }
}

// From a device on the path.

/// The device answered a segment of ours with that segment's numbers, as a reject does.
pub(super) fn device_rejected_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| from_device(it) && it.gap.is_idle() && it.forgery.reject_shape && it.delivery.outstanding > 0)
}

/// A device that forgot an idle connection resets it once, by the numbers that it knows.
pub(super) fn device_idle(evidence: &Evidence) -> bool {
    let attack = |signal: &Signal| {
        matches!(signal, Signal::ChallengedByRst | Signal::Repeated | Signal::ImpossibleAck | Signal::Payload)
    };
    holds(evidence, |it| from_device(it) && it.gap.is_idle() && it.role_seen && !it.forgery.signals.iter().any(attack))
}

pub(super) fn device(evidence: &Evidence) -> bool {
    holds(evidence, from_device)
}

pub(super) fn say_device(evidence: &Evidence) -> String {
    match received(evidence) {
        Some(it) if it.other_end_silent => "the other end is on this host and did not send it".into(),
        Some(it) => format!("not sent by the peer's stack: {}", say_against(it)),
        None => String::new(),
    }
}

// The signs conflict.

fn open(it: &Received) -> bool {
    it.forgery.origin() == Origin::Open && !it.connecting && !it.other_end_silent
}

/// The peer's socket still sends, so it did not abort.
pub(super) fn open_continued(evidence: &Evidence) -> bool {
    holds(evidence, |it| open(it) && it.forgery.signals.contains(&Signal::DataContinued))
}

pub(super) fn open_abort(evidence: &Evidence) -> bool {
    holds(evidence, |it| open(it) && it.shape == Shape::Abort)
}

pub(super) fn open_forgot(evidence: &Evidence) -> bool {
    holds(evidence, |it| open(it) && it.shape == Shape::NoConnection)
}

pub(super) fn say_open(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!("the signs conflict; against the peer: {}; for the peer: {}", say_against(it), say_for(it))
}

fn say_against(it: &Received) -> String {
    let signs: Vec<_> = it.forgery.signals.iter().filter_map(|signal| against(*signal)).collect();
    signs.join(", ")
}

fn against(signal: Signal) -> Option<String> {
    Some(match signal {
        Signal::MadeOnThisLink { ttl, expected } => {
            format!(
                "no hop decremented TTL {ttl}, unlike the handshake's TTL {expected}: a sender on this link or on this host"
            )
        }
        Signal::ImplausibleTtl { ttl, expected } => format!("no path length explains TTL {ttl} (handshake {expected})"),
        Signal::OtherStack { ttl, expected } => {
            format!("TTL {ttl} comes from another initial value and path than the handshake's {expected}")
        }
        Signal::OtherHops { ttl, expected } => {
            format!("TTL {ttl} implies another path than the handshake's {expected}")
        }
        Signal::TooSoon { delay, rtt } => {
            format!(
                "it arrived {} us after this host's data, while the round trip takes {} us",
                delay.as_micros(),
                rtt.as_micros()
            )
        }
        Signal::DataContinued => "the peer's data continues beyond it".into(),
        Signal::Repeated => "more RSTs followed with higher sequence numbers".into(),
        Signal::Challenged => "a segment that drew a challenge ACK (an RST or a SYN) came shortly before".into(),
        Signal::ChallengedByRst => "an RST with a wrong sequence number came before it".into(),
        Signal::InUse => "the connection was in use a moment before".into(),
        Signal::NeverAcknowledged => "a bare RST has a sequence number that this host never acknowledged".into(),
        Signal::Unprovoked => "a bare RST arrived while nothing was outstanding".into(),
        Signal::NoTimestamp { usual: false } => "it lacks the timestamp that a live Linux socket sends".into(),
        Signal::NoTimestamp { usual: true } => "it lacks a timestamp, as the RSTs of some stacks do".into(),
        Signal::ImpossibleAck => "it acknowledges data that this host never sent".into(),
        Signal::Payload => "it carries payload, which stacks do not send with an RST".into(),
        Signal::BareWithTimestamp => "it has a timestamp but no ACK, as no stack sends".into(),
        Signal::LikeThePeer | Signal::AnswerOfThePeer | Signal::TimestampFits => return None,
    })
}

fn say_for(it: &Received) -> String {
    let mut signs: Vec<_> = it.forgery.signals.iter().filter_map(|signal| in_favour(*signal)).collect();
    if signs.is_empty() {
        signs.push(if it.forgery.same_ttl { "its TTL" } else { "its sequence number" });
    }
    signs.join(", ")
}

fn in_favour(signal: Signal) -> Option<&'static str> {
    match signal {
        Signal::LikeThePeer => Some("its TTL, timestamp and shape are those of a live socket"),
        Signal::AnswerOfThePeer => Some("its TTL and delay are those of an answer"),
        Signal::TimestampFits => Some("its timestamp continues the peer's"),
        _ => None,
    }
}

// Together with resets of other connections to the same server.

fn ended_with_others(it: &Received) -> bool {
    it.correlation.ended_together > 0 && it.correlation.refused_since && !it.connecting
}

/// A connection that ended alone, or without a refusal since, may have been closed for any reason.
pub(super) fn ended_together(evidence: &Evidence) -> bool {
    holds(evidence, |it| ended_with_others(it) && it.shape != Shape::Abort)
}

pub(super) fn aborted_together(evidence: &Evidence) -> bool {
    holds(evidence, ended_with_others)
}

pub(super) fn say_ended_together(evidence: &Evidence) -> String {
    let others = received(evidence).map_or(0, |it| it.correlation.ended_together);
    format!("{others} more connections to this server ended at the same moment, and a new one has been refused since")
}

// After the peer's FIN, bare.

fn after_fin(it: &Received) -> bool {
    it.peer_closed && !it.connecting
}

/// The FIN explains the RST: no live socket sent it.
fn closed_earlier(it: &Received) -> bool {
    after_fin(it) && it.shape != Shape::Abort
}

/// Whether the reset answers data. One that answers our bare FIN is the tail of a closed connection.
fn wrote(it: &Received) -> bool {
    it.delivery.outstanding > 0
}

/// The peer sent something with its FIN after an idle period; whether a request was open was not sampled.
pub(super) fn unsampled_closing_message(evidence: &Evidence) -> bool {
    holds(evidence, |it| closed_earlier(it) && it.gap.unsampled_message && wrote(it))
}

/// This host, a server, wrote after the client's closing message, or answered a request that the client gave up.
pub(super) fn closing_message_or_request(evidence: &Evidence) -> bool {
    holds(evidence, |it| closed_earlier(it) && it.gap.message_or_request && wrote(it))
}

/// This host wrote after an idle period that a timer of the peer's had ended. A refusal since says that the server is gone.
pub(super) fn reused_after_timer(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let by_timer = it.gap.closed_by_program() && it.role_seen;
        closed_earlier(it) && by_timer && wrote(it) && !it.correlation.refused_since
    })
}

/// This host wrote after an idle period during which the peer had closed.
pub(super) fn reused_after_fin(evidence: &Evidence) -> bool {
    holds(evidence, |it| closed_earlier(it) && it.gap.was_idle_at_fin() && wrote(it))
}

pub(super) fn wrote_after_fin(evidence: &Evidence) -> bool {
    holds(evidence, |it| closed_earlier(it) && wrote(it))
}

pub(super) fn say_fin(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    let Some(ago) = it.fin_ago.map(length) else { return "the peer had closed earlier; then this host wrote".into() };
    if let Some(waited) = it.request_before_fin.filter(|waited| is_timeout(*waited)) {
        let waited = length(waited);
        return format!(
            "peer's FIN arrived {ago} earlier, {waited} after the client's request{GAVE_UP}; then this host wrote"
        );
    }
    match it.gap.until_fin {
        Some(idle) if it.gap.was_idle_at_fin() => {
            format!("peer's FIN arrived {ago} earlier, after {} without data; then this host wrote", length(idle))
        }
        _ => format!("peer's FIN arrived {ago} earlier; then this host wrote"),
    }
}

/// Both sides had closed; the RST answers our FIN.
pub(super) fn fin_to_unknown_connection(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.we_closed && !wrote(it) && it.shape == Shape::NoConnection)
}

/// The peer's stack dropped the connection right after its FIN, as Linux does with a negative TCP_LINGER2.
pub(super) fn peer_did_not_linger(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let at_once = it.fin_ago.is_some_and(|ago| ago < AT_ONCE);
        after_fin(it) && !it.we_closed && !wrote(it) && it.shape == Shape::NoConnection && at_once
    })
}

// From a live socket of the peer (RST with ACK).

fn abort(it: &Received) -> bool {
    it.shape == Shape::Abort && !it.connecting
}

/// The opener aborted before any payload, and without a silence that a timer could have ended.
pub(super) fn peer_probed_port(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let unused = !it.delivery.sent_any && !it.delivery.received_any;
        abort(it) && it.delivery.we_serve && unused && !it.gap.is_idle() && !it.peer_closed
    })
}

pub(super) fn peer_aborted(evidence: &Evidence) -> bool {
    holds(evidence, abort)
}

pub(super) fn say_abort(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!("a live socket of the peer sent the RST{}", when_aborted(it))
}

/// What was in progress when the peer aborted.
fn when_aborted(it: &Received) -> String {
    let age = it.delivery.request_age.map(length);
    match age {
        _ if it.peer_closed => " after the peer had closed its sending side".into(),
        _ if it.delivery.outstanding > 0 => {
            format!(" with {} bytes from this host not yet acknowledged", it.delivery.outstanding)
        }
        Some(age) if it.delivery.we_serve => {
            let gave_up = it.delivery.request_age.is_some_and(is_timeout);
            format!(" {age} after the client's request{}", if gave_up { GAVE_UP } else { "" })
        }
        Some(age) => format!(" {age} after this host's request"),
        None => match it.gap.length {
            _ if !it.delivery.sent_any && !it.delivery.received_any => " before any data was exchanged".into(),
            Some(gap) if it.gap.is_idle() => format!(" after {} without data", length(gap)),
            _ => " while the connection was in use".into(),
        },
    }
}

// From a stack that does not know the connection (bare RST), without an earlier FIN.

fn forgot(it: &Received) -> bool {
    it.shape == Shape::NoConnection && !it.connecting
}

/// A full accept queue drops the handshake's last ACK. The request socket stays until the SYN-ACK's retransmissions
/// end; after that the client's data reaches the listener, which answers with an RST.
pub(super) fn never_completed(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let unheard = !it.delivery.received_any && it.delivery.nothing_acknowledged;
        let young = it.age.is_some_and(|age| age < YOUNG);
        forgot(it) && unheard && !it.delivery.we_serve && (it.delivery.retransmitted || young)
    })
}

pub(super) fn forgotten(evidence: &Evidence) -> bool {
    holds(evidence, forgot)
}

pub(super) fn say_forgotten(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    let gap = it.gap.length.filter(|_| it.gap.is_idle()).map(length);
    match gap {
        Some(gap) if it.gap.ended_by_us && !it.delivery.retransmitted => {
            format!("the first operation after {gap} without data reached a stack that no longer knows the connection")
        }
        Some(gap) if it.forgery.signals.contains(&Signal::Unprovoked) => {
            format!("a stack with the peer's TTL ended the connection after {gap} without data, unprovoked")
        }
        _ => "the peer's stack does not know this connection".into(),
    }
}
