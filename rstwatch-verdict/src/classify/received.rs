//! Predicates and sentences for resets that a socket of this host accepted.

use std::time::Duration;

use crate::evidence::{Evidence, Received, Shape, Signal};
use crate::text::length;

/// An answer to the ACK of a FIN comes within a round trip.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A handshake is recent for so long: SYN-ACK retransmissions included.
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

/// A reject looks so; but so does the host in front of a container that is gone.
pub(super) fn refused_nearby(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.connecting && it.forgery.not_the_peer())
}

pub(super) fn say_refused_nearby(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!(
        "the RST answered our SYN, from nearer than the server: {}; a firewall, or the host before a container",
        say_signals(it)
    )
}

pub(super) fn refused(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.connecting)
}

pub(super) fn middlebox_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.forgery.not_the_peer() && it.gap.is_idle())
}

/// What a netfilter REJECT answers: to a segment of ours, with its own numbers.
pub(super) fn middlebox_reject(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let on_this_link = it.forgery.signals.iter().any(|signal| matches!(signal, Signal::MadeOnThisLink { .. }));
        it.forgery.not_the_peer() && on_this_link && it.forgery.reject_shape && it.delivery.outstanding > 0
    })
}

/// The peer goes on though its address and distance are those of the RST: a rule on its own host, which rejects ours.
pub(super) fn peers_firewall(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let has = |signal| it.forgery.signals.contains(&signal);
        let answers = !has(Signal::NeverAcknowledged);
        has(Signal::DataContinued) && it.forgery.same_ttl && it.forgery.reject_shape && answers
    })
}

/// One that dies alone, or is followed by none that is refused, may have been closed for any reason.
pub(super) fn ended_together(evidence: &Evidence) -> bool {
    holds(evidence, |it| it.correlation.ended_together > 0 && it.correlation.refused_since && !it.connecting)
}

pub(super) fn say_ended_together(evidence: &Evidence) -> String {
    let others = received(evidence).map_or(0, |it| it.correlation.ended_together);
    format!("{others} more connections to this server ended at the same moment, and a new one was refused since")
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
    format!("possibly an intermediate device: {}", say_signals(it))
}

pub(super) fn say_unexplained(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    format!("a stack or device ended the connection without being asked: {}", say_signals(it))
}

fn say_signals(it: &Received) -> String {
    let signs: Vec<_> = it.forgery.signals.iter().filter_map(|signal| say_signal(*signal)).collect();
    signs.join(", ")
}

/// Signs against the peer; those for it would only confuse.
fn say_signal(signal: Signal) -> Option<String> {
    Some(match signal {
        Signal::MadeOnThisLink { ttl, expected } => {
            format!("TTL {ttl} was not decremented by any hop, the handshake's TTL {expected} was")
        }
        Signal::ImplausibleTtl { ttl, expected } => format!("no path explains TTL {ttl} (handshake {expected})"),
        Signal::OtherHops { ttl, expected } => format!("TTL {ttl} came another path than the handshake's {expected}"),
        Signal::TooSoon { delay, rtt } => {
            format!("it came {} us after our data, the round trip takes {} us", delay.as_micros(), rtt.as_micros())
        }
        Signal::DataContinued => "the peer's data go on beyond it".into(),
        Signal::Repeated => "more RSTs followed, ahead of it".into(),
        Signal::Challenged => "a segment that did not fit, an RST or a SYN, came before it".into(),
        Signal::NeverAcknowledged => "a bare RST answers a number that we never acknowledged".into(),
        Signal::Unprovoked => "a bare RST came while nothing was outstanding".into(),
        Signal::NoTimestamp => "it lacks the timestamp that a live socket would send".into(),
        Signal::LikeThePeer | Signal::AnswerOfThePeer | Signal::TimestampFits => return None,
    })
}

fn after_fin(it: &Received) -> bool {
    it.peer_closed && !it.connecting
}

/// Our operation came after a silence; the peer had closed during it.
pub(super) fn reused_after_fin(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape != Shape::Abort && it.gap.was_idle_at_fin() && wrote(it))
}

/// What came with the FIN after a silence may answer our question; whether one was open nobody saw.
pub(super) fn unsampled_closing_message(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape != Shape::Abort && it.gap.unsampled_message && wrote(it))
}

pub(super) fn wrote_after_fin(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape != Shape::Abort && wrote(it))
}

/// A reset that answers data; one that answers our bare FIN is the tail of a closed connection.
fn wrote(it: &Received) -> bool {
    it.delivery.outstanding > 0
}

pub(super) fn say_fin(evidence: &Evidence) -> String {
    let Some(it) = received(evidence) else { return String::new() };
    let Some(ago) = it.fin_ago.map(length) else { return "the peer had closed before; then we wrote".into() };
    match it.gap.until_fin {
        Some(idle) if it.gap.was_idle_at_fin() => {
            format!("the peer's FIN came {ago} before, after {} without data; then we wrote", length(idle))
        }
        _ => format!("the peer's FIN came {ago} before; then we wrote"),
    }
}

pub(super) fn half_closed_unread(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape == Shape::Abort && wrote(it))
}

/// Some proxies drop a server's connection so when all is read.
pub(super) fn half_closed_aborted(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.shape == Shape::Abort)
}

/// Both sides had closed; what the RST answers is our FIN.
pub(super) fn fin_to_unknown_connection(evidence: &Evidence) -> bool {
    holds(evidence, |it| after_fin(it) && it.we_closed && !wrote(it) && it.shape == Shape::NoConnection)
}

/// Its stack let go of the connection right after the FIN: Linux does so for TCP_LINGER2 below zero.
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

/// A server speaks last, so that alone says little: health checks read the answer and abort.
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

/// The early answer: a server that refuses an upload answers, and closes while the rest is still coming.
pub(super) fn peer_cut_upload(evidence: &Evidence) -> bool {
    holds(evidence, |it| abort(it) && it.delivery.uploading && !it.gap.is_idle())
}

/// One that only ever sends is never answered: after a silence this says little.
pub(super) fn peer_left_unread_long(evidence: &Evidence) -> bool {
    holds(evidence, |it| abort(it) && it.delivery.sent_any && it.delivery.unanswered)
}

pub(super) fn say_unread(evidence: &Evidence) -> String {
    match received(evidence) {
        Some(it) if it.delivery.outstanding > 0 => {
            format!("the peer aborted a live connection with {} bytes of ours under way", it.delivery.outstanding)
        }
        _ => "the peer aborted a live connection without answering what we had sent".into(),
    }
}

/// An idle timer that fires with an RST; only where the silence fits a well-known timeout.
pub(super) fn peer_reaped_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        abort(it) && it.delivery.outstanding == 0 && it.gap.is_idle() && it.gap.fits_timeout && !it.delivery.owing
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

/// A full accept queue drops the handshake's last ACK in silence. The request waits for the SYN-ACK's retransmissions to end,
/// and what the client writes meets the listener.
pub(super) fn never_completed(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let unheard = !it.delivery.received_any && it.delivery.nothing_acknowledged && it.delivery.retransmitted;
        forgot(it) && unheard && !it.delivery.we_serve
    })
}

/// A bare RST that answers nothing of ours, or one that came after RSTs that were not believed: some device's or stack's own
/// way to end connections, or a forger's.
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

/// One that answers the first copy lives, and has closed. Where it took several, the peer was away: it has restarted.
///
/// Without a FIN the peer's stack may also have restarted meanwhile, or a device with its TTL lost its state.
pub(super) fn reused_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let pooled = it.gap.is_idle() && it.gap.ended_by_us && !it.delivery.we_serve;
        forgot(it) && pooled && !it.delivery.retransmitted
    })
}

/// A server that speaks first after a silence: no pool reuses anything there, so more is possible.
pub(super) fn pushed_after_idle(evidence: &Evidence) -> bool {
    holds(evidence, |it| {
        let pushed = it.gap.is_idle() && it.gap.ended_by_us && it.delivery.we_serve;
        forgot(it) && pushed && !it.delivery.retransmitted
    })
}

pub(super) fn say_reused_idle(evidence: &Evidence) -> String {
    let gap = received(evidence).and_then(|it| it.gap.length).map(length).unwrap_or_default();
    format!("first operation after {gap} of silence met a stack that no longer knows the connection")
}

pub(super) fn forgotten(evidence: &Evidence) -> bool {
    holds(evidence, forgot)
}
