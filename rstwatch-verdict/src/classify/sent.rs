//! Predicates and sentences for resets that this host sent: by its firewall, to opening segments, from live sockets.

use crate::text::length;
use std::time::Duration;

use crate::evidence::{Abort, End, Ending, Evidence, Exit, Reason, Sent, SocketClass};

fn sent(evidence: &Evidence) -> Option<&Sent> {
    match evidence {
        Evidence::Sent(sent) => Some(sent),
        _ => None,
    }
}

/// An answer to a segment.
pub(super) fn answer(evidence: &Evidence) -> Option<&Sent> {
    sent(evidence).filter(|sent| sent.answered.is_some())
}

/// An active reset: from a live socket, by itself.
fn active(evidence: &Evidence) -> Option<&Sent> {
    sent(evidence).filter(|sent| sent.answered.is_none())
}

/// The abort that an active reset is, with its owner's fate.
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

/// A rule that lets connections through by their conntrack entry rejects those that lost it. A new connection has none to
/// lose.
pub(super) fn rejected_while_full(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Firewall(reject) if !reject.syn && reject.conntrack_full.is_some())
}

pub(super) fn say_rejected_while_full(evidence: &Evidence) -> String {
    let Evidence::Firewall(reject) = evidence else { return String::new() };
    let ago = reject.conntrack_full.map(length).unwrap_or_default();
    format!("a netfilter rule rejected a segment of an open connection; the conntrack table was full {ago} before")
}

pub(super) fn say_firewall(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Firewall(reject) if reject.inferred => {
            "netfilter dropped the segment that this RST answers: a rule rejects with tcp reset".into()
        }
        Evidence::Firewall(reject) if reject.syn => "a netfilter rule rejected the SYN with tcp reset".into(),
        _ => "a netfilter rule rejected the segment with tcp reset".into(),
    }
}

pub(super) fn refused(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| sent.socket == SocketClass::Nothing && opens(sent))
}

pub(super) fn queue_full(evidence: &Evidence) -> bool {
    child_failed(evidence) && answer(evidence).is_some_and(|sent| sent.queue_full)
}

/// The kernel says INVALID_SYN for any request that it ends, this one included (net/ipv4/tcp_minisocks.c,
/// tcp_check_req, embryonic_reset): an ACK without SYN tells that the child could not be made.
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
        broken || (opens(sent) && sent.socket != SocketClass::Nothing)
    })
}

/// It comes where a handshake's last ACK would, and was not taken for it: a wrong number, or the request is gone
/// (net/ipv4/tcp_minisocks.c, tcp_check_req, hands it back to the listener).
pub(super) fn bad_last_ack(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| {
        let late = sent.answered.is_some_and(|answered| answered.handshake);
        sent.socket == SocketClass::Listener && sent.reason == Reason::TcpFlags && late
    })
}

pub(super) fn say_handshake(evidence: &Evidence) -> String {
    match sent(evidence).map(|sent| sent.reason) {
        Some(Reason::InvalidAckSequence) => {
            "the answer to our SYN acknowledged another connection: a stale half of it lives at the peer".into()
        }
        Some(Reason::InvalidSyn) => "a SYN came within a handshake's window".into(),
        Some(Reason::Rfc7323Paws) => "the answer to our SYN carried an impossible timestamp".into(),
        Some(Reason::OldAck | Reason::TooOldAck | Reason::AckUnsentData) => {
            "the handshake's last ACK acknowledged what was not sent".into()
        }
        _ => "a SYN came for a connection that lives, or has just ended".into(),
    }
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

/// While the table is full, segments without an entry are dropped: probes and their answers too.
pub(super) fn full_since_heard(evidence: &Evidence) -> Option<Duration> {
    sent(evidence)?.conntrack_full
}

pub(super) fn say_timed_out_while_full(evidence: &Evidence) -> String {
    let ago = full_since_heard(evidence).map(length).unwrap_or_default();
    format!(
        "the connection died of segments that were not answered; this node's conntrack table was full {ago} before, since the peer was last heard"
    )
}

pub(super) fn fin_wait_expired(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| abort.reason == Reason::TcpState && abort.orphan)
}

pub(super) fn destroyed(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| abort.reason == Reason::TcpState && !abort.by_owner)
}

pub(super) fn say_destroyed(evidence: &Evidence) -> String {
    match active(evidence).map(|sent| sent.actor.as_str()) {
        Some(actor) if !actor.is_empty() => format!("{actor} destroyed the live socket (ss -K, SOCK_DESTROY)"),
        _ => "a live socket was destroyed from outside (ss -K, SOCK_DESTROY)".into(),
    }
}

pub(super) fn died_aborting(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, exit)| abort.by_owner && failed(exit))
}

/// exit(0) with a connection open; a listener's close at exit has a name of its own.
pub(super) fn exited_aborting(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, exit)| {
        abort.by_owner && exit == Exit::Orderly && !abort.unaccepted && abort.reason == Reason::AbortOnClose
    })
}

pub(super) fn failed(exit: Exit) -> bool {
    matches!(exit, Exit::Signal(_) | Exit::Failed(_))
}

pub(super) fn say_exit(evidence: &Evidence) -> String {
    let exit = sent(evidence).and_then(|sent| sent.end.as_ref()).map(|end| end.exit);
    match exit {
        Some(Exit::Signal(signal)) => {
            format!("its process was killed by {} with the connection open", signal_name(signal))
        }
        Some(Exit::Failed(status)) => format!("its process exited with status {status} and the connection open"),
        _ => "its process exited with the connection open".into(),
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

/// `mptcp_do_fastclose` (net/mptcp/protocol.c) resets subflows that are alive.
pub(super) fn mptcp_fastclose(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| abort.reason == Reason::AbortOnClose && !abort.by_owner)
}

/// Where the kernel gives no reason: subflows are reset alive, which of other sockets only an administrator does.
pub(super) fn subflow_reset(evidence: &Evidence) -> bool {
    let no_reason = active(evidence).is_some_and(|sent| sent.derived && sent.subflow);
    no_reason && aborting(evidence).is_some_and(|(abort, _)| !abort.by_owner && abort.reason == Reason::TcpState)
}

pub(super) fn say_unread(evidence: &Evidence) -> String {
    match aborting(evidence) {
        Some((abort, _)) if abort.unread > 0 => format!("close() with {} received bytes unread", abort.unread),
        _ => "close() with received data unread".into(),
    }
}

pub(super) fn never_accepted(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| unaccepted(abort))
}

pub(super) fn unaccepted(abort: Abort) -> bool {
    abort.by_owner && abort.unaccepted && abort.reason == Reason::TcpState
}

pub(super) fn linger(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| lingered(abort))
}

pub(super) fn lingered(abort: Abort) -> bool {
    let zero = abort.by_owner && abort.linger0 && abort.reason == Reason::TcpState;
    zero || abort.reason == Reason::AbortOnLinger
}

pub(super) fn disconnected(evidence: &Evidence) -> bool {
    aborting(evidence).is_some_and(|(abort, _)| matches!(abort.reason, Reason::TcpState | Reason::DisconnectWithData))
}

/// In FIN_WAIT1 the kernel aborts for two reasons: data that nobody will read, and TCP_LINGER2 below zero when our FIN is
/// acknowledged (net/ipv4/tcp_input.c, tcp_rcv_state_process).
pub(super) fn linger2(evidence: &Evidence) -> bool {
    answer(evidence).is_some_and(|sent| {
        let no_data = sent.answered.is_some_and(|answered| answered.payload == 0);
        sent.socket == SocketClass::Connection && sent.reason == Reason::AbortOnData && no_data
    })
}
