//! Predicates and sentences for RSTs that answer segments of a connection that had ended here: what ended it is the cause.

use std::time::Duration;

use super::sent::{aborted, answer, ended_idle, failed, full_since_heard, lingered, unaccepted, unclear};
use crate::evidence::{Abort, End, EndedBy, Ending, Evidence, Exit, GAP, Reason, Sent, SocketClass};
use crate::text::length;

/// The longest time for which a segment is in flight.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// The end of the connection that an answered segment belonged to.
fn past(evidence: &Evidence) -> Option<&End> {
    answer(evidence)?.end.as_ref()
}

/// The abort that ended the answered segment's connection.
///
/// The abort is the cause only for a segment that was in flight at that moment. A later segment shows that the abort's
/// RST did not arrive: then the cause is that this stack no longer knows the connection.
fn past_abort(evidence: &Evidence) -> Option<(Abort, Exit)> {
    past(evidence).filter(|end| end.ago <= IN_FLIGHT).and_then(aborted)
}

pub(super) fn after_close_overflow(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| end.ending == Ending::Overflowed)
}

/// The owner died with the connection open; its exit sent a FIN or aborted.
pub(super) fn after_close_killed(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| failed(end.exit) && ended_by_owner(end))
}

pub(super) fn after_close_exited(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| {
        let never_accepted = aborted(end).is_some_and(|(abort, _)| abort.unaccepted);
        end.exit == Exit::Orderly && ended_by_owner(end) && !never_accepted
    })
}

pub(super) fn after_close_exit_unclear(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| end.exit == Exit::Unclear && ended_by_owner(end))
}

fn ended_by_owner(end: &End) -> bool {
    match end.ending {
        Ending::Closed => true,
        Ending::Aborted(abort) => abort.by_owner,
        _ => false,
    }
}

pub(super) fn after_close_unread(evidence: &Evidence) -> bool {
    past_abort(evidence).is_some_and(|(abort, _)| abort.reason == Reason::AbortOnClose)
}

pub(super) fn after_close_never_accepted(evidence: &Evidence) -> bool {
    past_abort(evidence).is_some_and(|(abort, _)| unaccepted(abort))
}

pub(super) fn after_close_probe(evidence: &Evidence) -> bool {
    let unused = answer(evidence).is_some_and(|sent| sent.opened_unused);
    unused && !after_close_idle_abort(evidence) && after_close_linger(evidence)
}

pub(super) fn after_close_idle_abort(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(ended_idle) && after_close_linger(evidence)
}

pub(super) fn after_close_linger_unclear(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(unclear) && after_close_linger(evidence)
}

pub(super) fn after_close_linger(evidence: &Evidence) -> bool {
    past_abort(evidence).is_some_and(|(abort, _)| lingered(abort))
}

pub(super) fn after_close_keepalive(evidence: &Evidence) -> bool {
    past_abort(evidence).is_some_and(|(abort, _)| abort.reason == Reason::KeepaliveTimeout)
}

pub(super) fn after_close_destroyed(evidence: &Evidence) -> bool {
    past_abort(evidence).is_some_and(|(abort, _)| abort.reason == Reason::TcpState && !abort.by_owner && !abort.orphan)
}

pub(super) fn say_aborted(evidence: &Evidence) -> String {
    let Some(end) = past(evidence) else { return String::new() };
    let gave_up = end
        .gave_up_after()
        .filter(|_| ended_by_owner(end))
        .map(|after| format!(", giving up {} after its request", length(after)));
    let aborted = format!("late segment of a connection that this host had aborted {} earlier", length(end.ago));
    aborted + &gave_up.unwrap_or_default()
}

fn closed(evidence: &Evidence) -> Option<&End> {
    past(evidence).filter(|end| end.ending == Ending::Closed)
}

/// Whether the answered segment carries data. A late bare ACK or FIN is the tail of a connection, not an operation.
fn with_data(evidence: &Evidence) -> bool {
    answer(evidence).and_then(|sent| sent.answered).is_some_and(|answered| answered.payload > 0)
}

fn idle(end: &End) -> bool {
    end.idle.is_some_and(|idle| idle >= GAP)
}

/// Which end had asked last was not seen, so neither was whether a request was open.
pub(super) fn closed_unseen(evidence: &Evidence) -> bool {
    closed(evidence).is_some_and(|end| !end.role_seen)
}

pub(super) fn closed_when_idle(evidence: &Evidence) -> bool {
    closed(evidence).is_some_and(|end| idle(end) && !end.closing_message && !end.uncertain) && with_data(evidence)
}

/// This host sent a short message after an idle period and closed. The periodic scan had not sampled the connection
/// before that message.
pub(super) fn closed_unsampled(evidence: &Evidence) -> bool {
    closed(evidence).is_some_and(|end| end.unsampled && idle(end))
}

/// Only likely: the final message may have been a late response, or a request that came within the same tick as the
/// last response may have been open.
pub(super) fn closed_with_closing_message(evidence: &Evidence) -> bool {
    closed(evidence).is_some_and(idle) && with_data(evidence)
}

/// This host closed, and may have been idle: a request has the time of the last response.
pub(super) fn gave_up_or_closed(evidence: &Evidence) -> bool {
    closed(evidence).is_some_and(|end| end.maybe_idle && end.idle.is_none()) && with_data(evidence)
}

/// A sample found that request.
pub(super) fn closed_likely_in_use(evidence: &Evidence) -> bool {
    closed(evidence).is_some_and(|end| end.uncertain && end.idle.is_none()) && with_data(evidence)
}

pub(super) fn closed_then_data(evidence: &Evidence) -> bool {
    closed(evidence).is_some() && with_data(evidence)
}

pub(super) fn half_closed_then_data(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| end.ending == Ending::HalfClosed) && with_data(evidence)
}

pub(super) fn after_close_timed_out(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| end.ending == Ending::Silent && end.outstanding)
}

pub(super) fn after_close_while_full(evidence: &Evidence) -> bool {
    after_close_timed_out(evidence) && full_since_heard(evidence).is_some()
}

pub(super) fn say_timed_out(evidence: &Evidence) -> String {
    let Some(end) = past(evidence) else { return String::new() };
    format!(
        "this host gave up the connection {} earlier without a FIN or RST: its data or probes went unanswered",
        length(end.ago)
    )
}

pub(super) fn after_close_out_of_memory(evidence: &Evidence) -> bool {
    past_abort(evidence).is_some_and(|(abort, _)| abort.reason == Reason::AbortOnMemory)
}

pub(super) fn after_close_disconnected(evidence: &Evidence) -> bool {
    past_abort(evidence).is_some_and(|(abort, _)| {
        abort.by_owner && matches!(abort.reason, Reason::TcpState | Reason::DisconnectWithData)
    })
}

/// The peer sends data beyond the RST that ended the connection here, so the peer did not send that RST. Without the
/// RST's record the idle time before it is unknown, and so is the cause.
pub(super) fn resumed(evidence: &Evidence) -> bool {
    resumed_after_rst(evidence).is_some_and(|sent| sent.ended_by == Some(EndedBy::Busy))
}

pub(super) fn resumed_after_idle(evidence: &Evidence) -> bool {
    resumed_after_rst(evidence).is_some_and(|sent| sent.ended_by == Some(EndedBy::Idle))
}

pub(super) fn resumed_after_reject(evidence: &Evidence) -> bool {
    let ended = past(evidence).is_some_and(|end| end.ending == Ending::ResetByPeer);
    ended && answer(evidence).is_some_and(|sent| sent.ended_by == Some(EndedBy::LocalFirewall))
}

fn resumed_after_rst(evidence: &Evidence) -> Option<&Sent> {
    let reset_by_peer = past(evidence).is_some_and(|end| end.ending == Ending::ResetByPeer);
    answer(evidence).filter(|sent| reset_by_peer && sent.resumed)
}

pub(super) fn say_resumed(evidence: &Evidence) -> String {
    let ago = past(evidence).map(|end| length(end.ago)).unwrap_or_default();
    format!("an RST in the peer's name ended this connection {ago} earlier, yet the peer still sends data beyond it")
}

/// A late segment of a connection that an RST had ended: the cause of that RST is its cause too.
pub(super) fn tail_of_reset(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| end.ending == Ending::ResetByPeer)
}

pub(super) fn say_tail_of_reset(evidence: &Evidence) -> String {
    let ago = past(evidence).map(|end| length(end.ago)).unwrap_or_default();
    format!("late segment of a connection that an RST in the peer's name had ended {ago} earlier")
}

/// The last segments of a connection that this host had closed when it was idle.
pub(super) fn tail_when_idle(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| end.ending == Ending::Closed && idle(end))
}

/// The same, where the connection may have been idle.
pub(super) fn tail_unclear(evidence: &Evidence) -> bool {
    tail(evidence) && past(evidence).is_some_and(|end| end.maybe_idle)
}

/// The last segment of a connection that this host ended: it carries no data, or was in flight when the kernel aborted
/// the orphaned socket.
pub(super) fn tail(evidence: &Evidence) -> bool {
    past(evidence).is_some_and(|end| match end.ending {
        Ending::Closed | Ending::HalfClosed => !with_data(evidence),
        Ending::Aborted(abort) => abort.orphan && end.ago <= IN_FLIGHT,
        Ending::Overflowed | Ending::Silent | Ending::ResetByPeer | Ending::Abandoned => false,
    })
}

pub(super) fn say_tail(evidence: &Evidence) -> String {
    let Some(end) = past(evidence) else { return String::new() };
    let lost = if with_data(evidence) { "its last data was not read" } else { "no data was lost" };
    format!("last segment of a connection that this host closed {} earlier: {lost}", length(end.ago))
}

pub(super) fn say_closed(evidence: &Evidence) -> String {
    let Some(end) = past(evidence) else { return String::new() };
    let ago = length(end.ago);
    if let Some(after) = end.gave_up_after().filter(|_| end.ending == Ending::Closed) {
        let after = length(after);
        return format!(
            "this host gave up {after} after its request and closed the connection {ago} earlier; then data arrived"
        );
    }
    let Some(idle) = end.idle.filter(|idle| *idle >= GAP) else {
        return format!("this host closed the connection {ago} earlier; then data arrived");
    };
    let closing_message = if end.closing_message { " and with a closing message" } else { "" };
    format!(
        "this host closed the connection {ago} earlier, after {} without data{closing_message}; then data arrived",
        length(idle)
    )
}

pub(super) fn data_after_close(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| {
        matches!(sent.reason, Reason::AbortOnData | Reason::TimewaitSocket) || sent.socket == SocketClass::TimeWait
    })
}

pub(super) fn unknown_here(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| matches!(sent.socket, SocketClass::NoSocket | SocketClass::Listener))
}

pub(super) fn say_unknown_here(evidence: &Evidence) -> String {
    if let Some(end) = past(evidence) {
        let ago = length(end.ago);
        if end.ending == Ending::Silent {
            return format!("this host had given up the connection {ago} earlier without a FIN or RST");
        }
        return format!(
            "this host had aborted the connection {ago} earlier, but its RST did not arrive: another segment came"
        );
    }
    let listens = answer(evidence).is_some_and(|sent| sent.socket == SocketClass::Listener);
    let tail = if listens { "; a server listens on its port" } else { "" };
    format!("segment of a connection that this host does not know{tail}")
}
