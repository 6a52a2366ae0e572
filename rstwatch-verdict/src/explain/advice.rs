//! What to change, addressed to this host's end of the connection.
//!
//! The end that reset the connection and its victim need different advice, and so do a client and a server.

use std::time::Duration;

use crate::cause::{Cause, Direction, Sender};
use crate::event::{Event, Follows, LAST_MESSAGE, Role, TimeoutCandidate};
use crate::families::reads;
use crate::text::{length, seconds};
use crate::timing::Timer;

/// What follows from a verdict, a sentence each: the causes that remain, what would decide between them, what to change.
pub fn guidance(event: &Event, timer: Option<Timer>) -> [Option<String>; 3] {
    [reads(event), event.decide.clone(), advice(event, timer)]
}

/// One line of advice for this event, or none if there is nothing to fix.
///
/// Its numbers are those that were measured: the timeout that was seen to expire, else the idle time before the reset.
pub fn advice(event: &Event, timer: Option<Timer>) -> Option<String> {
    let advice = match event.candidates[..] {
        [Cause::IdleReaped, ..] if maybe_no_timer(event, timer) => {
            format!("if a timer ended it: {}", idle_reaped(event, timer))
        }
        [Cause::MiddleboxIdle, _, ..] => format!("if an entry expired: {}", middlebox_idle(event, timer)),
        // A family's advice is to find out which it was, and `decide` says how.
        [_, _, ..] if event.cause != Cause::Refused && event.decide.is_some() => at_this_end(event).to_owned(),
        _ => of_cause(event, timer),
    };
    (!advice.is_empty()).then_some(advice)
}

/// Whether something other than a timer may have closed the idle connection: other candidates remain, or the silence has a length to
/// which programs do not set their timers. A server that is being stopped closes its idle connections at any time.
fn maybe_no_timer(event: &Event, timer: Option<Timer>) -> bool {
    let set_to = |timer: Timer| !timer.exact || timer.whole_seconds() || !event.timeout_candidates.is_empty();
    event.candidates[..].len() > 1 || !timer.is_none_or(set_to)
}

/// What the victim can change itself, whichever candidate it was; empty if nothing.
fn at_this_end(event: &Event) -> &'static str {
    match (event.cause, event.unread_bytes, event.state) {
        // tcp_recvmsg_locked (net/ipv4/tcp.c) copies what was received before it reports the error.
        (Cause::PeerAbort, Some(1..=LAST_MESSAGE), _) => {
            "read on after the error: what has arrived before the reset can still be read"
        }
        (Cause::PeerAbort, Some(1..), _) => {
            "if the peer limits what waits for slow readers, as brokers do: read faster, or raise that limit"
        }
        (Cause::NoSuchConnection, _, Some("CLOSE_WAIT")) if event.role == Role::Client => {
            "where a read returns end of file, open a new connection instead of writing to this one"
        }
        (Cause::MiddleboxInjected, ..) if event.sender == Sender::Middlebox => event.cause.entry().fix,
        _ => "",
    }
}

fn of_cause(event: &Event, timer: Option<Timer>) -> String {
    match (event.cause, event.follows) {
        // `decide` says how to find out whether a server listens.
        (Cause::Refused, _) if event.direction == Direction::Received && event.decide.is_some() => {
            "start the server, permit the traffic if a firewall rejects it, or correct the address or port".to_owned()
        }
        (Cause::InvalidHandshake, Some(Follows::GivingUp { ago_ms })) => gave_up(ago_ms),
        (Cause::Refused, _) => refused(event.direction, &refuser(event)),
        (Cause::IdleReaped, _) => idle_reaped(event, timer),
        (Cause::MiddleboxIdle, _) => middlebox_idle(event, timer),
        (cause, _) => with_roles(cause.entry().advice(reset_here(event)), event.role),
    }
}

/// Advice on refusals at these addresses, which may be several in one text.
pub fn refused(direction: Direction, at: &str) -> String {
    match direction {
        Direction::Sent => format!("start a server on {at}, or have clients use the right address and port"),
        Direction::Received => format!(
            "check that a server listens on {at}, and that no firewall rejects; else correct the address or port"
        ),
    }
}

/// The address and port on which nothing listens.
pub fn refuser(event: &Event) -> String {
    match event.direction {
        Direction::Sent => event.local.to_string(),
        Direction::Received => event.remote.to_string(),
    }
}

/// This host's own connect timeout was shorter than the answer took.
fn gave_up(ago_ms: u64) -> String {
    format!(
        "raise the connect timeout here: the server's answer came {} after it; or find out why the server or the path is slow",
        length(Duration::from_millis(ago_ms))
    )
}

/// Whether this host's end reset the connection. A local firewall's RST may be received here too. What ended the
/// connection counts: the answer to a late segment comes from here, whoever had ended it.
fn reset_here(event: &Event) -> bool {
    match event.ended_by() {
        Sender::LocalApp | Sender::LocalKernel | Sender::LocalFirewall => true,
        Sender::Peer | Sender::Middlebox => false,
        Sender::Unknown => event.direction == Direction::Sent && event.follows.is_none(),
    }
}

/// Names the peer by its role, if that is known.
fn with_roles(advice: &str, role: Role) -> String {
    match role {
        Role::Client => advice.replace("the peer", "the server"),
        Role::Server => advice.replace("the peer", "the client"),
        Role::Unknown => advice.to_owned(),
    }
}

/// The end that reset the connection had closed it before. The other end, which used it too late, must change.
fn idle_reaped(event: &Event, timer: Option<Timer>) -> String {
    let bound = |otherwise: &str| bound(event, timer).unwrap_or_else(|| otherwise.to_owned());
    match (reset_here(event), event.role) {
        // A client closes what it opened, so the late message is the server's, and no pool is involved.
        (true, Role::Client) => {
            let bound = bound("this client's idle timeout");
            format!("have the server send again within {bound}, or keep idle connections open for longer here")
        }
        (false, Role::Server) => {
            let bound = bound("the client's idle timeout");
            format!("send again within {bound}, or have the client keep idle connections open for longer")
        }
        (here, _) => {
            let (subject, otherwise) =
                if here { ("have clients keep", "this end's timeout") } else { ("keep", "every hop's timeout") };
            let bound = bound(otherwise);
            format!("{subject} pooled connections idle for less than {bound}; retry idempotent requests once")
        }
    }
}

fn middlebox_idle(event: &Event, timer: Option<Timer>) -> String {
    let bound = bound(event, timer).unwrap_or_else(|| "the device's idle timeout".to_owned());
    format!("set TCP keepalive below {bound}, or raise that timeout")
}

/// The timeout that was seen to end the connection; else the idle time before the reset, which is an upper bound. Known
/// timeouts only explain it.
fn bound(event: &Event, timer: Option<Timer>) -> Option<String> {
    let candidates = candidates(&event.timeout_candidates);
    if let Some(timer) = timer.filter(|timer| timer.exact) {
        return Some(format!("{} (the timeout that was seen here{candidates})", length(timer.after)));
    }
    let idle_ms = event.idle_ms?;
    Some(format!("{} (the idle time that was fatal here; the timeout may be shorter{candidates})", seconds(idle_ms)))
}

fn candidates(candidates: &[TimeoutCandidate]) -> String {
    if candidates.is_empty() {
        return String::new();
    }
    let named: Vec<_> = candidates.iter().map(|it| format!("{} {}", it.who, it.seconds)).collect();
    format!("; candidates: {}", named.join(", "))
}
