//! Predicates and sentences for resets that a socket of this host accepted.

use std::time::Duration;

use crate::evidence::{Evidence, Received, Shape, Signal};
use crate::text::length;

/// The answer to the ACK of a FIN arrives within a round trip, which is shorter than this.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Up to this age a connection is just established, SYN-ACK retransmissions included.
const YOUNG: Duration = Duration::from_secs(5);

fn received(evidence: &Evidence) -> Option<&Received> {
    match evidence {
        Evidence::Received(received) => Some(received),
        _ => None,
    }
}

fn holds(evidence: &Evidence, predicate: impl Fn(&Received) -> bool) -> bool {
    received(evidence).is_some_and(predicate)
}

/// A firewall's reject has this shape, and so has the answer of a host whose container is gone.
pub(super) fn refused_nearby(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.connecting && it.forgery.not_the_peer())
}

pub(super) fn say_refused_nearby(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!(
        "the RST answered this host's SYN from nearer than the server: {}; a firewall, or the host of a container",
        say_signals(it)
    )
}

pub(super) fn refused(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.connecting)
}

pub(super) fn middlebox_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.forgery.not_the_peer() && it.gap.is_idle())
}

/// An RST in the shape of netfilter's REJECT, which answers a segment of ours with that segment's numbers.
pub(super) fn middlebox_reject(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let on_this_link = it.forgery.signals.iter().any(|signal| matches!(signal, Signal::MadeOnThisLink { .. }));
        it.forgery.not_the_peer() && on_this_link && it.forgery.reject_shape && it.delivery.outstanding > 0
    })
}

/// The peer still sends, and the RST has its address and hop count: a firewall rule on the peer's host rejects our
/// segments.
pub(super) fn peers_firewall(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let has = |signal| it.forgery.signals.contains(&signal);
        let answers = !has(Signal::NeverAcknowledged);
        has(Signal::DataContinued) && it.forgery.same_ttl && it.forgery.reject_shape && answers
    })
}

/// A connection that ended alone, or without a refusal since, may have been closed for any reason.
pub(super) fn ended_together(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.correlation.ended_together > 0 && it.correlation.refused_since && !it.connecting)
}

pub(super) fn say_ended_together(evidence: &Evidence) -> String {
    let others = received(evidence).map_or(0, |it| it.correlation.ended_together);
    format!("{others} more connections to this server ended at the same moment, and a new one has been refused since")
}

pub(super) fn middlebox(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.forgery.not_the_peer())
}

pub(super) fn doubtful(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.forgery.doubtful())
}

pub(super) fn say_middlebox(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!("not sent by the peer's own stack: {}", say_signals(it))
}

pub(super) fn say_doubtful(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!("possibly sent by a device on the path: {}", say_signals(it))
}

pub(super) fn say_unexplained(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!("a stack or device ended the connection unprovoked: {}", say_signals(it))
}

fn say_signals(it: &Received) -> String {
    let signs: Vec<_> = it.forgery.signals.iter().filter_map(|signal| say_signal(*signal)).collect();
    signs.join(", ")
}

/// Signs against the peer as the sender; signs for it would only confuse.
fn say_signal(signal: Signal) -> Option<String> {
    Some(match signal {
        Signal::MadeOnThisLink { ttl, expected } => {
            format!("no hop decremented TTL {ttl}, unlike the handshake's TTL {expected}")
        }
        Signal::ImplausibleTtl { ttl, expected } => format!("no path length explains TTL {ttl} (handshake {expected})"),
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
        Signal::NeverAcknowledged => "a bare RST has a sequence number that this host never acknowledged".into(),
        Signal::Unprovoked => "a bare RST arrived while nothing was outstanding".into(),
        Signal::NoTimestamp => "it lacks the timestamp that a live socket sends".into(),
        Signal::LikeThePeer | Signal::AnswerOfThePeer | Signal::TimestampFits => return None,
    })
}

fn after_fin(it: &Received) -> bool {
    it.peer_closed && !it.connecting
}

/// This host wrote after an idle period during which the peer had closed.
pub(super) fn reused_after_fin(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape != Shape::Abort && it.gap.was_idle_at_fin() && wrote(it))
}

/// The peer sent something with its FIN after an idle period; whether a request was open was not sampled.
pub(super) fn unsampled_closing_message(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape != Shape::Abort && it.gap.unsampled_message && wrote(it))
}

pub(super) fn wrote_after_fin(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape != Shape::Abort && wrote(it))
}

/// Whether the reset answers data. One that answers our bare FIN is the tail of a closed connection.
fn wrote(it: &Received) -> bool {
    it.delivery.outstanding > 0
}

pub(super) fn say_fin(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    let Some(ago) = it.fin_ago.map(length) else { return "the peer had closed earlier; then this host wrote".into() };
    match it.gap.until_fin {
        Some(idle) if it.gap.was_idle_at_fin() => {
            format!("peer's FIN arrived {ago} earlier, after {} without data; then this host wrote", length(idle))
        }
        _ => format!("peer's FIN arrived {ago} earlier; then this host wrote"),
    }
}

pub(super) fn half_closed_unread(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape == Shape::Abort && wrote(it))
}

/// Some proxies drop a connection to a server this way once they have read everything.
pub(super) fn half_closed_aborted(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape == Shape::Abort)
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

fn abort(it: &Received) -> bool {
    it.shape == Shape::Abort && !it.connecting
}

pub(super) fn peer_gave_up_probing(evidence: &Evidence) -> bool {
    holds(evidence, |it| abort(it) && it.peer_probed && it.delivery.outstanding == 0 && it.gap.is_idle())
}

pub(super) fn peer_never_spoke(evidence: &Evidence) -> bool {
    holds(evidence, |it| abort(it) && it.delivery.sent_any && !it.delivery.received_any)
}

/// A server sends last, so that alone says little: health checks read the response and abort.
pub(super) fn peer_left_answer(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let answered = it.delivery.unanswered && it.delivery.outstanding == 0 && !it.gap.is_idle();
        abort(it) && it.delivery.we_serve && answered
    })
}

pub(super) fn peer_left_unread(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let fresh = it.delivery.unanswered && !it.gap.is_idle();
        abort(it) && it.delivery.sent_any && (it.delivery.outstanding > 0 || fresh)
    })
}

/// A server that refuses an upload responds early and closes while the rest is still arriving.
pub(super) fn peer_cut_upload(evidence: &Evidence) -> bool {
    holds(evidence, |it| abort(it) && it.delivery.uploading && !it.gap.is_idle())
}

/// A one-way sender is never answered, so after an idle period this says little.
pub(super) fn peer_left_unread_long(evidence: &Evidence) -> bool {
    holds(evidence, |it| abort(it) && it.delivery.sent_any && it.delivery.unanswered)
}

pub(super) fn say_unread(evidence: &Evidence) -> String {
    match received(evidence) {
        Some(it) if it.delivery.outstanding > 0 => {
            format!(
                "the peer aborted a live connection with {} bytes from this host outstanding",
                it.delivery.outstanding
            )
        }
        _ => "the peer aborted a live connection without answering this host's data".into(),
    }
}

/// An idle timer that sends an RST: only where the idle time fits a well-known timeout.
pub(super) fn peer_reaped_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        abort(it)
            && it.delivery.outstanding == 0
            && it.gap.is_idle()
            && it.gap.fits_timeout
            && !it.delivery.response_pending
    })
}

pub(super) fn say_reaped(evidence: &Evidence) -> String {
    let gap = received(evidence).and_then(|it| it.gap.length).map(length).unwrap_or_default();
    format!("the peer aborted the connection after {gap} without data, which fits a well-known idle timeout")
}

pub(super) fn peer_silent(evidence: &Evidence) -> bool {
    holds(evidence, |it| abort(it) && !it.delivery.sent_any && !it.delivery.received_any)
}

pub(super) fn peer_aborted(evidence: &Evidence) -> bool {
    holds(evidence, abort)
}

/// A full accept queue drops the handshake's last ACK. The request socket stays until the SYN-ACK's retransmissions
/// end; after that the client's data reaches the listener, which answers with an RST.
pub(super) fn never_completed(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let unheard = !it.delivery.received_any && it.delivery.nothing_acknowledged && it.delivery.retransmitted;
        forgot(it) && unheard && !it.delivery.we_serve
    })
}

/// A bare RST that answers nothing of ours, or that followed RSTs which were not accepted: a device's or a stack's own
/// way to end connections, or a forgery.
pub(super) fn unexplained(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let odd = |signal: &Signal| matches!(signal, Signal::Unprovoked | Signal::Challenged | Signal::Repeated);
        it.forgery.signals.iter().any(odd) && forgot(it)
    })
}

fn forgot(it: &Received) -> bool {
    it.shape == Shape::NoConnection && !it.connecting
}

pub(super) fn handshake_only(evidence: &Evidence) -> bool {
    holds(evidence, |it| forgot(it) && !it.delivery.received_any && it.age.is_some_and(|age| age < YOUNG))
}

/// The peer answered the first copy of our data, so it was up and had closed. A retransmission would mean that it was
/// down, and has restarted.
///
/// A guess without a FIN: the peer may still have restarted in between, or a device at its TTL lost its state.
pub(super) fn reused_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let pooled = it.gap.is_idle() && it.gap.ended_by_us && !it.delivery.we_serve;
        forgot(it) && pooled && !it.delivery.retransmitted
    })
}

/// A server that sends first after an idle period: no client pool is involved, so more causes are possible.
pub(super) fn pushed_after_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let pushed = it.gap.is_idle() && it.gap.ended_by_us && it.delivery.we_serve;
        forgot(it) && pushed && !it.delivery.retransmitted
    })
}

pub(super) fn say_reused_idle(evidence: &Evidence) -> String {
    let gap = received(evidence).and_then(|it| it.gap.length).map(length).unwrap_or_default();
    format!("the first operation after {gap} without data reached a stack that no longer knows the connection")
}

pub(super) fn forgotten(evidence: &Evidence) -> bool {
    holds(evidence, forgot)
}
