//! The causes that remain where the evidence does not single one out, the most plausible first.
//!
//! Each list follows from what the kernel requires for a cause: unread data needs data, a listener's queue a connection that was
//! never answered. At most five remain; the rarest give way.

use super::received::received;
use super::sent::lingered;
use crate::cause::Candidates;
use crate::cause::Cause::{
    self, AdminAbort, ConntrackFull, DataAfterClose, FirewallReject, IdleReaped, InvalidHandshake, KeepaliveTimeout,
    LingerAbort, ListenOverflow, ListenerClosed, MiddleboxIdle, MiddleboxInjected, Mptcp, NatUntranslated,
    NoSuchConnection, Probe, ProcessDied, Refused, ResourceLimit, UnreadData,
};
use crate::evidence::{End, Ending, Evidence, MAX_CLOSING_BYTES, Origin, Reason, Received, Sent, Signal};

/// What a live socket of the peer's may have done.
pub(super) fn abort(evidence: &Evidence) -> Vec<Cause> {
    let Some(it) = received(evidence) else { return Vec::new() };
    let causes: &[Cause] = match it {
        _ if it.subflow => &[UnreadData, Mptcp, LingerAbort, ProcessDied],
        _ if it.peer_closed => &[UnreadData, LingerAbort, ProcessDied, ResourceLimit],
        _ if unused(it) && !it.role_seen => &[Probe, ListenerClosed, LingerAbort, IdleReaped, ProcessDied],
        _ if unused(it) && it.delivery.we_serve => &[Probe, LingerAbort, IdleReaped, AdminAbort],
        _ if unused(it) => &[ListenerClosed, LingerAbort, ProcessDied, IdleReaped, AdminAbort],
        _ if it.delivery.we_serve && !it.delivery.received_any => &[Probe, UnreadData, LingerAbort, ProcessDied],
        _ if !it.role_seen && !it.delivery.received_any => {
            &[UnreadData, LingerAbort, ProcessDied, Probe, ListenerClosed]
        }
        // A request may have been open as well.
        _ if it.peer_probed && quiet(it) && !it.role_seen => {
            &[KeepaliveTimeout, IdleReaped, LingerAbort, UnreadData, ProcessDied]
        }
        _ if it.peer_probed && quiet(it) => &[KeepaliveTimeout, IdleReaped, LingerAbort, AdminAbort],
        _ if quiet(it) => &[IdleReaped, LingerAbort, UnreadData, ProcessDied, AdminAbort],
        _ if long_open(it) && !it.delivery.received_any => {
            &[LingerAbort, ProcessDied, UnreadData, ListenerClosed, AdminAbort]
        }
        _ if long_open(it) => &[LingerAbort, ProcessDied, UnreadData, AdminAbort],
        _ if never_answered(it) => &[ProcessDied, UnreadData, LingerAbort, ListenerClosed, AdminAbort],
        _ if it.delivery.we_serve => &[LingerAbort, UnreadData, ProcessDied, AdminAbort],
        _ if not_reading(it) => &[LingerAbort, UnreadData, ProcessDied, ResourceLimit, AdminAbort],
        _ if answered(it) => &[LingerAbort, UnreadData, ProcessDied, AdminAbort],
        _ => &[UnreadData, LingerAbort, ProcessDied, AdminAbort],
    };
    with_device(it, causes)
}

/// No payload either way.
fn unused(it: &Received) -> bool {
    !it.delivery.sent_any && !it.delivery.received_any
}

/// Nothing was in progress, and the peer ended the silence.
fn quiet(it: &Received) -> bool {
    it.gap.is_idle() && !it.gap.ended_by_us
}

fn never_answered(it: &Received) -> bool {
    !it.delivery.received_any && it.delivery.outstanding == 0
}

/// The peer had all of our data and had sent the last payload.
fn answered(it: &Received) -> bool {
    it.delivery.outstanding == 0 && !it.delivery.unanswered
}

/// The peer may have closed with data unsent, because this end's window is full: its FIN waits behind that data, and the kernel
/// ends such orphans where memory is short (net/ipv4/tcp_timer.c, tcp_out_of_resources).
fn not_reading(it: &Received) -> bool {
    it.delivery.unread > MAX_CLOSING_BYTES && answered(it)
}

/// A request was in progress for so long that the peer's timeout may have ended it.
fn long_open(it: &Received) -> bool {
    it.delivery.request_age.is_some_and(|age| age >= it.gap.threshold)
}

/// Why a stack may not know a connection on which no FIN was seen.
pub(super) fn forgot(evidence: &Evidence) -> Vec<Cause> {
    let Some(it) = received(evidence) else { return Vec::new() };
    let causes: &[Cause] = match it {
        _ if challenged(it) && !it.role_seen => {
            &[LingerAbort, UnreadData, InvalidHandshake, MiddleboxInjected, ProcessDied]
        }
        _ if challenged(it) && it.delivery.we_serve => &[InvalidHandshake, MiddleboxInjected, ProcessDied],
        // The number of the first RST was one too high if a FIN before it was lost, as that of an orphan.
        _ if challenged(it) => &[LingerAbort, UnreadData, MiddleboxInjected, ResourceLimit, ProcessDied],
        _ if it.delivery.retransmitted => &[ProcessDied, KeepaliveTimeout, IdleReaped, ListenOverflow],
        _ if it.gap.is_idle() && !it.role_seen => {
            &[IdleReaped, MiddleboxIdle, KeepaliveTimeout, ProcessDied, NatUntranslated]
        }
        _ if it.gap.is_idle() && it.delivery.we_serve => {
            &[IdleReaped, MiddleboxIdle, KeepaliveTimeout, NatUntranslated, FirewallReject]
        }
        _ if it.gap.is_idle() => &[IdleReaped, MiddleboxIdle, KeepaliveTimeout, ProcessDied],
        _ if it.delivery.we_serve && long_unheard(it) => {
            &[KeepaliveTimeout, DataAfterClose, NatUntranslated, UnreadData, FirewallReject]
        }
        _ if it.delivery.we_serve && it.delivery.outstanding == 0 => {
            &[InvalidHandshake, MiddleboxInjected, DataAfterClose, NatUntranslated]
        }
        _ if it.delivery.we_serve => &[DataAfterClose, NatUntranslated, UnreadData, MiddleboxInjected, FirewallReject],
        _ if !it.role_seen && long_unheard(it) => {
            &[KeepaliveTimeout, FirewallReject, UnreadData, DataAfterClose, NatUntranslated]
        }
        _ if !it.role_seen && it.delivery.outstanding == 0 => {
            &[MiddleboxInjected, DataAfterClose, InvalidHandshake, NatUntranslated, UnreadData]
        }
        _ if it.delivery.downloading => &[LingerAbort, UnreadData, DataAfterClose, NatUntranslated, MiddleboxInjected],
        _ if !it.delivery.received_any => &[FirewallReject, ListenOverflow, UnreadData, LingerAbort, DataAfterClose],
        _ => &[FirewallReject, MiddleboxInjected, UnreadData, DataAfterClose, NatUntranslated],
    };
    with_device(it, causes)
}

/// Segments with wrong numbers came shortly before: the peer opened a connection on the same ports, or a blind attempt.
fn challenged(it: &Received) -> bool {
    it.delivery.outstanding == 0 && it.forgery.signals.contains(&Signal::Challenged)
}

/// The peer has been silent for longer than a busy connection's peer is: it acknowledges within a round trip.
fn long_unheard(it: &Received) -> bool {
    it.unheard.is_some_and(|unheard| unheard >= it.gap.threshold / 2)
}

/// Where the signs of the sender conflict, a device remains possible.
fn with_device(it: &Received, causes: &[Cause]) -> Vec<Cause> {
    let device = if it.gap.is_idle() { MiddleboxIdle } else { MiddleboxInjected };
    let mut all = causes.to_vec();
    if it.forgery.origin() == Origin::Open && !all.contains(&device) {
        all.truncate(Candidates::MAX - 1);
        all.push(device);
    }
    all
}

/// What a device on the path may have done to a connection in use.
pub(super) fn injected(evidence: &Evidence) -> Vec<Cause> {
    let idle = received(evidence).is_some_and(|it| it.gap.is_idle());
    // On several CPUs the stack's answer may overtake data that was sent before it.
    if received(evidence)
        .is_some_and(|it| it.forgery.origin() == Origin::Open && (it.forgery.same_ttl || it.forgery.ttl_unseen))
    {
        let device = if idle { MiddleboxIdle } else { MiddleboxInjected };
        return vec![FirewallReject, device, UnreadData, LingerAbort];
    }
    let answers = received(evidence).is_some_and(|it| it.delivery.outstanding > 0 && it.forgery.reject_shape);
    if answers {
        vec![FirewallReject, MiddleboxInjected, NoSuchConnection, ConntrackFull]
    } else if idle {
        vec![MiddleboxInjected, MiddleboxIdle, FirewallReject]
    } else {
        vec![MiddleboxInjected, FirewallReject]
    }
}

/// What a device on the path may have done to an idle connection: a reject answers the next segment.
pub(super) fn dropped_state(_: &Evidence) -> Vec<Cause> {
    vec![MiddleboxIdle, FirewallReject, ConntrackFull]
}

/// The RST answered a SYN.
pub(super) fn refused(_: &Evidence) -> Vec<Cause> {
    vec![Refused, FirewallReject]
}

/// The peer's FIN came after an idle period, at a timer's time or with a closing message. A process may die at a timer's time too,
/// but sends no message.
pub(super) fn closed_by_timer(evidence: &Evidence) -> Vec<Cause> {
    let message = received(evidence).is_some_and(|it| it.gap.closing_message);
    if message { vec![IdleReaped] } else { vec![IdleReaped, ProcessDied] }
}

/// The peer's FIN came after an idle period at no timer's time.
pub(super) fn closed_idle(evidence: &Evidence) -> Vec<Cause> {
    let order_seen = received(evidence).is_some_and(|it| it.role_seen && !it.gap.order_unsampled);
    if order_seen { vec![IdleReaped, ProcessDied] } else { vec![IdleReaped, DataAfterClose, ProcessDied] }
}

/// The peer's FIN came while the connection was in use.
pub(super) fn closed_busy(evidence: &Evidence) -> Vec<Cause> {
    match received(evidence) {
        Some(it) if it.correlation.ended_together > 0 => vec![ProcessDied, DataAfterClose],
        Some(it) if it.gap.order_unknown || !it.role_seen => vec![DataAfterClose, IdleReaped, ProcessDied],
        _ => vec![DataAfterClose, ProcessDied],
    }
}

/// Both sides had closed, and the peer's stack had forgotten the connection.
pub(super) fn both_closed(evidence: &Evidence) -> Vec<Cause> {
    let idle = received(evidence).is_some_and(|it| it.gap.was_idle_at_fin());
    let order_seen = received(evidence).is_some_and(|it| it.role_seen && !it.gap.order_unknown);
    match (idle, order_seen) {
        (true, _) => vec![IdleReaped, DataAfterClose, ProcessDied],
        (false, false) => vec![DataAfterClose, IdleReaped, ProcessDied],
        (false, true) => vec![DataAfterClose, ProcessDied],
    }
}

/// The peer sent a short message after an idle period and closed; whether a request was open is not known.
pub(super) fn closing_or_response(_: &Evidence) -> Vec<Cause> {
    vec![IdleReaped, DataAfterClose, ProcessDied]
}

/// This host had closed, and what its owner was doing was not seen.
pub(super) fn closed_here(_: &Evidence) -> Vec<Cause> {
    vec![DataAfterClose, IdleReaped, ProcessDied]
}

/// This host aborted an idle connection on purpose: an idle timer, or at any time a pool that shrinks, a health check or a
/// shutdown.
pub(super) fn idle_abort(_: &Evidence) -> Vec<Cause> {
    vec![IdleReaped, LingerAbort]
}

/// This host aborted on purpose; what it interrupted was not seen.
pub(super) fn linger_unclear(evidence: &Evidence) -> Vec<Cause> {
    vec![LingerAbort, if maybe_probe(evidence) { Probe } else { IdleReaped }]
}

/// The owner exited. If it served this connection alone, that is the equivalent of a close.
pub(super) fn exit_unclear(evidence: &Evidence) -> Vec<Cause> {
    let Some(end) = end(evidence) else { return vec![ProcessDied] };
    let closed = match end.ending {
        Ending::Aborted(abort) if abort.reason == Reason::AbortOnClose => UnreadData,
        Ending::Aborted(_) => LingerAbort,
        _ => DataAfterClose,
    };
    let idle = (end.maybe_idle || end.idle.is_some()) && closed != UnreadData;
    let mut all = vec![ProcessDied, closed];
    all.extend(maybe_probe(evidence).then_some(Probe));
    all.extend(idle.then_some(IdleReaped));
    all
}

/// This host aborted on purpose a connection that had not been idle and had carried no payload; which end had opened it was not
/// seen.
fn maybe_probe(evidence: &Evidence) -> bool {
    let Evidence::Sent(Sent { maybe_opened_unused: true, end: Some(end), .. }) = evidence else { return false };
    matches!(end.ending, Ending::Aborted(abort) if lingered(abort)) && !end.maybe_idle
}

/// This host had closed an idle connection, unless a request had the time of the last response.
pub(super) fn closed_idle_here(evidence: &Evidence) -> Vec<Cause> {
    if end(evidence).is_some_and(|end| end.uncertain) { vec![IdleReaped, DataAfterClose] } else { vec![IdleReaped] }
}

/// This host had closed, most likely with a request open: the order of two messages is not known.
pub(super) fn gave_up_or_closed(_: &Evidence) -> Vec<Cause> {
    vec![DataAfterClose, IdleReaped]
}

fn end(evidence: &Evidence) -> Option<&End> {
    match evidence {
        Evidence::Sent(sent) => sent.end.as_ref(),
        _ => None,
    }
}

/// This host had closed; whether a request was open is not known.
pub(super) fn closed_here_unsampled(_: &Evidence) -> Vec<Cause> {
    vec![IdleReaped, DataAfterClose]
}

/// This host's stack does not know the connection. Without a tombstone, whatever ended it may have been before the agent
/// started, or so long ago that the tombstone was evicted.
pub(super) fn unknown_here(evidence: &Evidence) -> Vec<Cause> {
    match evidence {
        Evidence::Sent(sent) if sent.end.is_none() => {
            vec![NoSuchConnection, IdleReaped, ProcessDied]
        }
        _ => vec![NoSuchConnection],
    }
}

/// Other connections to the server ended at the same moment, and new ones are refused.
pub(super) fn ended_together(_: &Evidence) -> Vec<Cause> {
    vec![ProcessDied, DataAfterClose, IdleReaped]
}

/// The same, by aborts.
pub(super) fn aborted_together(_: &Evidence) -> Vec<Cause> {
    vec![ProcessDied, ListenerClosed, UnreadData, LingerAbort]
}

/// The peer answered the SYN, and then its stack did not know the connection. Without data, the RST answers the handshake's last
/// ACK.
pub(super) fn never_completed(evidence: &Evidence) -> Vec<Cause> {
    if received(evidence).is_some_and(|it| !it.delivery.sent_any && it.delivery.outstanding == 0) {
        return vec![ListenOverflow, FirewallReject, InvalidHandshake, ProcessDied];
    }
    vec![ListenOverflow, FirewallReject, UnreadData, LingerAbort, ProcessDied]
}

/// The peer's stack forgot the connection at once after its FIN.
pub(super) fn not_lingering(_: &Evidence) -> Vec<Cause> {
    vec![LingerAbort, DataAfterClose, ResourceLimit]
}
