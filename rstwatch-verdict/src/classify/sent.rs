//! Predicates and sentences for resets that this host sent: from its firewall, in answer to a handshake, from live
//! sockets.

use std::net::SocketAddr;
use std::time::Duration;

use crate::evidence::{Abort, End, Ending, Evidence, Exit, GAP, Reason, Sent, SocketClass};
use crate::text::length;

fn sent(evidence: &Evidence) -> Option<&Sent> {
    match evidence {
        Evidence::Sent(sent) => Some(sent),
        _ => None,
    }
}

/// A reset that answers a segment.
pub(super) fn answer(evidence: &Evidence) -> Option<&Sent> {
    sent(evidence).filter(|sent| sent.answered.is_some())
}

/// An active reset: sent by a live socket, not in answer to a segment.
fn active(evidence: &Evidence) -> Option<&Sent> {
    sent(evidence).filter(|sent| sent.answered.is_none())
}

/// The abort behind an active reset, and whether the owner was exiting.
fn aborting(evidence: &Evidence) -> Option<(Abort, Exit)> {
    aborted(active(evidence)?.end.as_ref()?)
}

pub(super) fn aborted(end: &End) -> Option<(Abort, Exit)> {
    match end.ending {
        Ending::Aborted(abort) => Some((abort, end.exit)),
        _ => None,
    }
}

fn opens(sent: &Sent) -> bool {
    sent.answered.is_some_and(|answered| answered.syn && !answered.ack)
}

pub(super) fn firewall(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Firewall(_))
}

pub(super) fn firewall_seen(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Firewall(reject) if !reject.inferred)
}

/// A netfilter rule that accepts established connections rejects those whose conntrack entry is gone. A new connection
/// has no entry to lose.
pub(super) fn rejected_while_full(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Firewall(reject) if !reject.syn && reject.conntrack_full.is_some())
}

pub(super) fn say_rejected_while_full(evidence: &Evidence) -> String {
    let Evidence::Firewall(reject) = evidence else { return String::new() };
    let ago = reject.conntrack_full.map(length).unwrap_or_default();
    format!("a netfilter rule rejected a segment of an open connection; the conntrack table was full {ago} earlier")
}

pub(super) fn say_firewall(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Firewall(reject) if reject.inferred => {
            "netfilter dropped the segment that this RST answers: a rule rejects with a TCP reset".into()
        }
        Evidence::Firewall(reject) if reject.syn => "a netfilter rule rejected the SYN with a TCP reset".into(),
        _ => "a netfilter rule rejected the segment with a TCP reset".into(),
    }
}

pub(super) fn refused(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| sent.socket == SocketClass::NoSocket && opens(sent))
}

pub(super) fn queue_full(evidence: &Evidence) -> bool {
    child_failed(evidence) && answer(evidence).is_some_and(|sent| sent.queue_full)
}

/// The kernel's reason is INVALID_SYN for every request socket that it ends (net/ipv4/tcp_minisocks.c, tcp_check_req,
/// embryonic_reset): after an ACK without SYN it means that the child socket could not be created.
pub(super) fn child_failed(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| {
        let last_ack = sent.answered.is_some_and(|answered| answered.ack && !answered.syn);
        sent.socket == SocketClass::Listener && sent.reason == Reason::InvalidSyn && last_ack
    })
}

pub(super) fn bad_handshake(evidence: &Evidence) -> bool {
    use Reason::{AckUnsentData, InvalidAckSequence, InvalidSyn, OldAck, Rfc7323Paws, TooOldAck};
    answer(evidence).is_some_and(|sent| {
        let broken =
            matches!(sent.reason, InvalidSyn | InvalidAckSequence | OldAck | TooOldAck | AckUnsentData | Rfc7323Paws);
        broken || (opens(sent) && sent.socket != SocketClass::NoSocket)
    })
}

/// The segment has the position of a handshake's last ACK but was not accepted as one: a wrong number, or the request
/// socket is gone (net/ipv4/tcp_minisocks.c, tcp_check_req, hands it back to the listener).
pub(super) fn bad_last_ack(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| {
        let last_ack = sent.answered.is_some_and(|answered| answered.handshake);
        sent.socket == SocketClass::Listener && sent.reason == Reason::TcpFlags && last_ack
    })
}

pub(super) fn say_handshake(evidence: &Evidence) -> String {
    match sent(evidence).map(|sent| sent.reason) {
        Some(Reason::InvalidAckSequence) => {
            "the answer to this host's SYN acknowledged another connection: the peer still holds a stale one".into()
        }
        Some(Reason::InvalidSyn) => "SYN arrived inside the window of a handshake in progress".into(),
        Some(Reason::Rfc7323Paws) => "the answer to this host's SYN carried an impossible timestamp".into(),
        Some(Reason::OldAck | Reason::TooOldAck | Reason::AckUnsentData) => {
            "the handshake's last ACK acknowledged data that was not sent".into()
        }
        _ => "SYN arrived for a connection that is open, or has just ended".into(),
    }
}

/// The kernel side finds an attempt only for a SYN-ACK that acknowledges its SYN.
fn abandoned(evidence: &Evidence) -> Option<&End> {
    answer(evidence)?.end.as_ref().filter(|end| end.ending == Ending::Abandoned)
}

pub(super) fn abandoned_connect(evidence: &Evidence) -> bool {
    abandoned(evidence).is_some()
}

pub(super) fn say_abandoned(evidence: &Evidence) -> String {
    let ago = abandoned(evidence).map(|end| length(end.ago)).unwrap_or_default();
    format!("this host gave up connecting {ago} earlier; the SYN-ACK came too late")
}

/// The true end of the connection that the segment belongs to.
fn true_remote(evidence: &Evidence) -> Option<SocketAddr> {
    answer(evidence)?.untranslated
}

/// Both sequence numbers fit a live connection, by chance once in some hundred million segments.
pub(super) fn untranslated(evidence: &Evidence) -> bool {
    true_remote(evidence).is_some()
}

pub(super) fn say_untranslated(evidence: &Evidence) -> String {
    let remote = true_remote(evidence).map(|remote| remote.to_string()).unwrap_or_default();
    let what = if answer(evidence).and_then(|sent| sent.answered).is_some_and(|answered| answered.syn) {
        "SYN-ACK answers this host's attempt to connect"
    } else {
        "segment belongs to this host's live connection"
    };
    format!("the {what} to {remote} by its sequence numbers: its source address was not translated back")
}

pub(super) fn unexpected_syn_ack(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| sent.answered.is_some_and(|answered| answered.syn && answered.ack))
}

pub(super) fn mptcp(evidence: &Evidence) -> bool {
    sent(evidence).is_some_and(|sent| sent.reason == Reason::Mptcp)
}

pub(super) fn out_of_memory(evidence: &Evidence) -> bool {
    active(evidence).is_some_and(|sent| sent.reason == Reason::AbortOnMemory)
}

pub(super) fn keepalive(evidence: &Evidence) -> bool {
    active(evidence).is_some_and(|sent| sent.reason == Reason::KeepaliveTimeout)
}

pub(super) fn keepalive_while_full(evidence: &Evidence) -> bool {
    keepalive(evidence) && full_since_heard(evidence).is_some()
}

/// When the conntrack table was full. A full table drops segments without an entry, probes and their answers included.
pub(super) fn full_since_heard(evidence: &Evidence) -> Option<Duration> {
    sent(evidence)?.conntrack_full
}

pub(super) fn say_timed_out_while_full(evidence: &Evidence) -> String {
    let ago = full_since_heard(evidence).map(length).unwrap_or_default();
    format!(
        "the connection timed out without an answer; this node's conntrack table was full {ago} earlier, after the peer was last heard"
    )
}

pub(super) fn fin_wait_expired(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| abort.reason == Reason::TcpState && abort.orphan)
}

pub(super) fn destroyed(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| abort.reason == Reason::TcpState && !abort.by_owner)
}

pub(super) fn say_destroyed(evidence: &Evidence) -> String {
    match active(evidence).and_then(|sent| sent.actor) {
        Some(actor) => format!("{actor} destroyed the live socket (ss -K, SOCK_DESTROY)"),
        None => "a live socket was destroyed from outside (ss -K, SOCK_DESTROY)".into(),
    }
}

pub(super) fn died_aborting(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, exit)| abort.by_owner && failed(exit))
}

/// exit(0) with a connection open; a listener that closes at exit has a rule of its own.
pub(super) fn exited_aborting(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, exit)| {
        abort.by_owner && exit == Exit::Orderly && !abort.unaccepted && abort.reason == Reason::AbortOnClose
    })
}

/// The exit of a process that may have served this connection alone: then it is the program's close.
pub(super) fn exit_unclear(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, exit)| abort.by_owner && exit == Exit::Unclear)
}

pub(super) fn failed(exit: Exit) -> bool {
    matches!(exit, Exit::Signal(_) | Exit::Failed(_))
}

pub(super) fn say_exit(evidence: &Evidence) -> String {
    let exit = sent(evidence).and_then(|sent| sent.end.as_ref()).map(|end| end.exit);
    match exit {
        Some(Exit::Signal(signal)) => {
            format!("the owning process was killed by {} with the connection open", signal_name(signal))
        }
        Some(Exit::Failed(status)) => format!("the owning process exited with status {status} and the connection open"),
        _ => "the owning process exited with the connection open".into(),
    }
}

fn signal_name(signal: u8) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL (kill -9 or out of memory)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.into()
}

pub(super) fn unread(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| abort.reason == Reason::AbortOnClose && abort.by_owner)
}

/// `mptcp_do_fastclose` (net/mptcp/protocol.c) resets live subflows.
pub(super) fn mptcp_fastclose(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| abort.reason == Reason::AbortOnClose && !abort.by_owner)
}

/// For kernels that give no reason: of sockets that are reset alive, only subflows are not an administrator's doing.
pub(super) fn subflow_reset(evidence: &Evidence) -> bool {
    let no_reason = active(evidence).is_some_and(|sent| sent.derived && sent.subflow);
    no_reason && aborting(evidence).is_some_and(|(abort, _)| !abort.by_owner && abort.reason == Reason::TcpState)
}

pub(super) fn say_unread(evidence: &Evidence) -> String {
    let unread = match aborting(evidence) {
        Some((abort, _)) if abort.unread > 0 => format!("close() with {} received bytes unread", abort.unread),
        _ => "close() with received data unread".into(),
    };
    let unread = unread + &gave_up(evidence);
    match sent(evidence).and_then(|sent| sent.silence_before_unread).filter(|silence| *silence >= GAP) {
        Some(silence) => {
            format!(
                "{unread}, which came after {} of silence: an idle timer may have met a new request",
                length(silence)
            )
        }
        None => unread,
    }
}

pub(super) fn never_accepted(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| unaccepted(abort))
}

pub(super) fn unaccepted(abort: Abort) -> bool {
    abort.by_owner && abort.unaccepted && abort.reason == Reason::TcpState
}

/// The opener aborted before any payload.
pub(super) fn probe(evidence: &Evidence) -> bool {
    let unused = active(evidence).is_some_and(|sent| sent.opened_unused);
    unused && !idle_abort(evidence) && linger(evidence)
}

/// An abort on purpose that ended a silence, as an idle timer that resets does.
pub(super) fn idle_abort(evidence: &Evidence) -> bool {
    let idle = active(evidence).and_then(|sent| sent.end.as_ref()).is_some_and(ended_idle);
    idle && linger(evidence)
}

/// An abort on purpose of which it was not seen whether it ended a silence, or a connection that this end had opened for nothing.
pub(super) fn linger_unclear(evidence: &Evidence) -> bool {
    active(evidence).is_some_and(unclear) && linger(evidence)
}

pub(super) fn unclear(sent: &Sent) -> bool {
    sent.maybe_opened_unused || sent.end.as_ref().is_some_and(|end| end.maybe_idle)
}

/// What a program does to abort on purpose.
const LINGER: &str = "close() with SO_LINGER on and a timeout of zero, or a negative TCP_LINGER2";

pub(super) fn say_linger_unclear(evidence: &Evidence) -> String {
    let unused = active(evidence).is_some_and(|sent| sent.maybe_opened_unused);
    let (when, unseen) = if unused {
        ("before any payload", "which end had opened it")
    } else {
        ("after at least a second without payload", "whether a request was open")
    };
    format!("the program aborted the connection {when} ({LINGER}); rstwatch did not see {unseen}")
}

/// Whether our side ended the connection after an idle gap, with nothing in progress.
pub(super) fn ended_idle(end: &End) -> bool {
    end.idle.is_some_and(|idle| idle >= GAP) && !end.unsampled
}

pub(super) fn say_idle_abort(evidence: &Evidence) -> String {
    let idle = active(evidence).and_then(|sent| sent.end.as_ref()?.idle).map(length).unwrap_or_default();
    format!(
        "close() with SO_LINGER on and a timeout of zero, after {idle} without data, as an idle timer that resets does"
    )
}

pub(super) fn linger(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| lingered(abort))
}

pub(super) fn lingered(abort: Abort) -> bool {
    let zero = abort.by_owner && abort.linger0 && abort.reason == Reason::TcpState;
    zero || abort.reason == Reason::AbortOnLinger
}

pub(super) fn say_linger(evidence: &Evidence) -> String {
    format!("{LINGER}{}", gave_up(evidence))
}

/// That this host, a client, had waited in vain for a response.
fn gave_up(evidence: &Evidence) -> String {
    let after = active(evidence).and_then(|sent| sent.end.as_ref()?.gave_up_after());
    after.map(|after| format!(": this host gave up {} after its request", length(after))).unwrap_or_default()
}

pub(super) fn disconnected(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| matches!(abort.reason, Reason::TcpState | Reason::DisconnectWithData))
}

/// In FIN_WAIT1 the kernel aborts for two reasons: data that can no longer be read, and a negative TCP_LINGER2 once the
/// FIN is acknowledged (net/ipv4/tcp_input.c, tcp_rcv_state_process).
pub(super) fn linger2(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| {
        let no_data = sent.answered.is_some_and(|answered| answered.payload == 0);
        sent.socket == SocketClass::Connection && sent.reason == Reason::AbortOnData && no_data
    })
}
