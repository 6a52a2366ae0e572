//! How our side of a connection ended, and whether its owner was exiting at that moment.

use std::time::Duration;

use rstwatch_common::record::{ConnState, PF_EXITING, ResetRecord, flags, last_payload, mark, role, state};

use super::idle::MAX_CLOSING_BYTES;
use super::sample::{self, LastMessages, Sample};
use super::{Context, GAP, Reason, facts, is_timeout, reason};

/// The end of our side.
#[derive(Clone, Debug)]
pub struct End {
    /// How long before the reset; zero for an active reset, which is the end itself.
    pub ago: Duration,
    /// Idle time before the end, closing messages not counted; `None` if a request or data was open.
    pub idle: Option<Duration>,
    /// We sent the last message, after an idle period: a closing message, or a late response.
    pub closing_message: bool,
    /// Whether a request was open is uncertain: request and response have the same time.
    pub uncertain: bool,
    /// An idle period may have ended here, or a request was open: which of the two is uncertain.
    pub maybe_idle: bool,
    /// Time since the request that this end, a client, gave up; `None` if none was open, or if that is uncertain.
    pub request_age: Option<Duration>,
    /// Whether the kernel side saw that this end opened or accepted the connection. If it had no room for the state at first, it
    /// did not, and cannot tell whether a request was open.
    pub role_seen: bool,
    /// Some of our bytes were not acknowledged.
    pub outstanding: bool,
    /// The periodic scan did not sample the connection before its final message, so the idle time is a guess.
    pub unsampled: bool,
    /// How our side ended.
    pub ending: Ending,
    /// Whether the owner was exiting.
    pub exit: Exit,
}

impl End {
    /// How long after its request this end, a client, gave up: a whole number of seconds, as timeouts are.
    pub fn gave_up_after(&self) -> Option<Duration> {
        self.request_age.filter(|age| is_timeout(*age))
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// close(), shutdown() or exit sent a FIN.
    Closed,
    /// shutdown(SHUT_WR): the owner kept reading, and the end of that was not seen.
    HalfClosed,
    /// An active reset.
    Aborted(Abort),
    /// The handshake failed on a full accept queue.
    Overflowed,
    /// The other side reset it.
    ResetByPeer,
    /// Without FIN or RST: a timeout, or socket repair.
    Silent,
    /// An attempt to connect ended before the SYN was answered.
    Abandoned,
}

/// The socket that sent an active reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The kernel's reason, or the one derived from fields.
    pub reason: Reason,
    /// The reason was derived from fields.
    pub derived: bool,
    /// The owner aborted: the socket was in CLOSE already. Otherwise it was destroyed alive, from outside or by a timer.
    pub by_owner: bool,
    /// The socket was an orphan in FIN_WAIT2.
    pub orphan: bool,
    /// SO_LINGER with a timeout of zero.
    pub linger0: bool,
    /// It had not been accepted.
    pub unaccepted: bool,
    /// Received bytes that were not read.
    pub unread: u32,
}

/// Whether the owner was exiting, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The owner was not exiting.
    Running,
    /// Killed by a signal.
    Signal(u8),
    /// exit() with an error status.
    Failed(u8),
    /// exit(0).
    Orderly,
    /// exit of a process that was forked for this connection: the equivalent of a close.
    PerConnection,
    /// exit of a process that may have been forked for this connection: the beginning of the connection was not seen.
    Unclear,
}

impl Exit {
    /// From the owner's flags and exit code. `idle`: no request or data was open; `maybe_idle`: that is uncertain.
    fn of(conn: &ConnState, idle: bool, maybe_idle: bool) -> Self {
        let owner = &conn.owner;
        if owner.flags & PF_EXITING == 0 {
            return Self::Running;
        }
        let (signal, status) = ((owner.exit_code & 0x7f) as u8, ((owner.exit_code >> 8) & 0xff) as u8);
        // fork() after accept(): the process is younger than the connection that it serves.
        let serves_one = conn.role == role::SERVER && conn.established_ns != 0 && owner.start_ns > conn.established_ns;
        let accepted = conn.marks & mark::UNACCEPTED == 0;
        let may_serve_one = conn.role != role::CLIENT && conn.established_ns == 0 && accepted;
        match (signal, status) {
            // Some programs exit with an error status when their idle timer fires.
            (0, status) if serves_one && (status == 0 || idle) => Self::PerConnection,
            (0, status) if may_serve_one && (status == 0 || idle || maybe_idle) => Self::Unclear,
            (0, _) if serves_one && maybe_idle => Self::Unclear,
            (0, 0) => Self::Orderly,
            (0, status) => Self::Failed(status),
            (signal, _) => Self::Signal(signal),
        }
    }
}

/// How the connection of a sent reset ended; `None` without connection state.
pub(super) fn of(record: &ResetRecord, context: &Context) -> Option<End> {
    let conn = &record.conn;
    let has_state = record.flags & (flags::CONN_STATE | flags::TOMBSTONE) != 0;
    // A listener's state does not describe a connection.
    if !has_state || conn.role == role::LISTENER {
        return None;
    }
    let ended = if conn.closing.time_ns != 0 { conn.closing.time_ns } else { conn.closed.time_ns };
    if ended == 0 || closed_before_the_agent(conn) {
        return None;
    }
    let interrupted = interrupted(conn, context);
    let (idle, closing_message, uncertain) = match interrupted {
        Interrupted::Work { uncertain, .. } => (None, false, uncertain),
        Interrupted::Idle { jiffies, closing_message, uncertain } => {
            (context.jiffies(jiffies), closing_message, uncertain)
        }
        Interrupted::Unsampled { jiffies } => (context.jiffies(jiffies), true, true),
    };
    let request_age = match interrupted {
        Interrupted::Work { request: Some(jiffies), uncertain: false } => context.jiffies(jiffies),
        _ => None,
    };
    // The other side was silent. A program that aborts sends no closing message first: the abort may discard it.
    let (sent, received) = (conn.closing.sent_age, conn.closing.received_age);
    let quiet = if conn.marks & mark::ABORTED != 0 { sent.min(received) } else { received };
    let maybe_idle = uncertain && is_gap(quiet, context) && !request_sampled(conn);
    Some(End {
        ago: Duration::from_nanos(record.time_ns.saturating_sub(ended)),
        idle,
        maybe_idle,
        request_age,
        closing_message,
        uncertain,
        unsampled: matches!(interrupted, Interrupted::Unsampled { .. }),
        role_seen: conn.role != role::UNKNOWN,
        outstanding: outstanding(conn) > 0,
        ending: ending(conn, context),
        exit: Exit::of(conn, idle.is_some(), maybe_idle),
    })
}

fn is_gap(jiffies: u32, context: &Context) -> bool {
    context.jiffies(jiffies).is_some_and(|length| length >= GAP)
}

/// Whether our side had closed before the agent started: how, and after how much idle time, was not seen.
fn closed_before_the_agent(conn: &ConnState) -> bool {
    use state::{CLOSING, FIN_WAIT1, FIN_WAIT2, LAST_ACK};
    conn.closing.time_ns == 0 && matches!(conn.old_state, FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK)
}

/// Bytes outstanding when our side closed; 0 if the numbers are inconsistent.
fn outstanding(conn: &ConnState) -> u32 {
    if conn.closing.outstanding < 1 << 30 { conn.closing.outstanding } else { 0 }
}

/// What our side's end interrupted.
enum Interrupted {
    /// A request or a transfer: a client had no response yet, a server had not responded yet, or data was undelivered.
    Work {
        /// Request and response have the same time, so their order is unknown.
        uncertain: bool,
        /// Jiffies since the request of this end, a client, that was open.
        request: Option<u32>,
    },
    /// An idle period.
    Idle {
        /// Its length in jiffies.
        jiffies: u32,
        /// The server sent a short message before it closed, as TLS and many protocols do; or it was a late response.
        closing_message: bool,
        /// A request may have been open: it has the time of the last response.
        uncertain: bool,
    },
    /// An idle period that our own final message ended, a response or a closing message: the periodic scan had not
    /// sampled it.
    Unsampled {
        /// Its length in jiffies.
        jiffies: u32,
    },
}

/// Decides by who sent last. The times are jiffies, so in a quick exchange both may be equal, and the result is
/// uncertain. Then the last ACK is a hint: an ACK later than both acknowledges our last message, so no response to it
/// had arrived. If the ACK has the same time too, most likely the client has its response, and a server that closes has
/// responded.
fn interrupted(conn: &ConnState, context: &Context) -> Interrupted {
    // A socket that never was connected has no times.
    if conn.old_state == state::SYN_SENT {
        return Interrupted::Work { uncertain: false, request: None };
    }
    // Which end asks was not seen, so it is not known whether a request was open.
    if conn.role == role::UNKNOWN {
        return Interrupted::Work { uncertain: true, request: None };
    }
    let (sent, received) = (conn.closing.sent_age, conn.closing.received_age);
    let is_gap = |jiffies| is_gap(jiffies, context);
    let tie = sent == received;
    let acknowledged_later = tie && conn.closing.ack_age < received;
    let (sent_any, received_any) = (conn.closed.bytes_sent > 0, conn.closed.bytes_received > 0);
    let request_open =
        conn.role == role::CLIENT && sent_any && (sent < received || acknowledged_later || !received_any);
    let response_open = conn.role == role::SERVER && (received < sent || (received_any && !sent_any));
    // On an older connection the client delays the ACK of a response, so an ACK with the same time came with the next
    // request.
    let likely_request = request_sampled(conn) || (is_old(conn) && acks_count(conn));
    let next_request_open = conn.role == role::SERVER && tie && !acknowledged_later && likely_request;
    if next_request_open && is_gap(received) {
        return Interrupted::Work { uncertain: true, request: None };
    }
    if let Some(jiffies) = idle_before_clients_message(conn, context) {
        return Interrupted::Idle { jiffies, closing_message: true, uncertain: true };
    }
    if request_open || response_open || outstanding(conn) > MAX_CLOSING_BYTES {
        // What a client sends after an idle period just before it closes is a closing message, or a request that it
        // abandoned.
        let closing_message = !is_gap(sent) && is_gap(received);
        let uncertain = request_open && received_any && (closing_message || tie);
        return Interrupted::Work { uncertain, request: request_open.then_some(sent) };
    }
    let uncertain = tie;
    let last = sent.min(received);
    if conn.role == role::CLIENT || is_gap(sent) || !is_gap(received) {
        return Interrupted::Idle { jiffies: last, closing_message: false, uncertain };
    }
    final_message(conn, context)
}

/// Segments of a new connection that are acknowledged at once (TCP_MAX_QUICKACKS, include/net/tcp.h).
const QUICK_ACKS: u16 = 16;

/// Whether a sample found a request of the client's after our last response, and no other has come since.
fn request_sampled(conn: &ConnState) -> bool {
    conn.role == role::SERVER
        && conn.sampled.last_payload == last_payload::PEERS
        && closing_sample(conn).follows(conn.closing.received_age)
}

/// Whether the time of the last ACK says something: with keepalives of our own it does not.
fn acks_count(conn: &ConnState) -> bool {
    conn.closing.ack_age != u32::MAX
}

fn is_old(conn: &ConnState) -> bool {
    conn.sampled.closing_quiet != 0 && conn.sampled.segs_out.saturating_add(conn.sampled.closing_segs) > QUICK_ACKS
}

/// What a server sent last before it closed, after the client had been idle.
fn final_message(conn: &ConnState, context: &Context) -> Interrupted {
    let (sent, received) = (conn.closing.sent_age, conn.closing.received_age);
    let sampled = &conn.sampled;
    match closing_sample(conn).last_messages(received, context) {
        LastMessages::Few if u32::from(sampled.closing_bytes) <= MAX_CLOSING_BYTES => {
            let idle = sampled.closing_quiet.saturating_sub(sent);
            let closing_message = is_gap(idle, context);
            let uncertain = sampled.last_payload == last_payload::UNKNOWN;
            Interrupted::Idle { jiffies: idle.max(sent.min(received)), closing_message, uncertain }
        }
        LastMessages::Response | LastMessages::Stream => {
            Interrupted::Idle { jiffies: sent.min(received), closing_message: false, uncertain: false }
        }
        LastMessages::Few | LastMessages::Unknown => Interrupted::Unsampled { jiffies: received },
    }
}

/// A client closes at once after its closing message. It waits longer for a response, however impatient it is.
const WITH_CLOSE: Duration = Duration::from_millis(50);

/// How long a client had been idle, in jiffies, before what it sent last, if that was a closing message: it came after a silence
/// in which a sample had found the last response, and the client closed at once.
fn idle_before_clients_message(conn: &ConnState, context: &Context) -> Option<u32> {
    let (sampled, sent, received) = (&conn.sampled, conn.closing.sent_age, conn.closing.received_age);
    let closed = conn.role == role::CLIENT && conn.marks & mark::ABORTED == 0;
    let at_once = context.jiffies(sent).is_some_and(|age| age < WITH_CLOSE);
    let answered = sampled.last_payload == last_payload::PEERS;
    let few = closing_sample(conn).last_messages(received, context) == LastMessages::Few;
    let short = few && u32::from(sampled.closing_bytes) <= MAX_CLOSING_BYTES;
    let idle = sampled.closing_quiet.saturating_sub(sent);
    (closed && at_once && answered && short && is_gap(idle, context)).then_some(idle)
}

/// The last sample, seen from the end of our side.
fn closing_sample(conn: &ConnState) -> Sample {
    let sampled = &conn.sampled;
    // Its first payload: nothing but a request can have come before.
    let no_response = sampled.last_payload == last_payload::UNKNOWN && sampled.segs_out == 0;
    let request_open = if conn.role == role::CLIENT {
        sampled.last_payload == last_payload::OURS
    } else {
        sampled.last_payload == last_payload::PEERS || (no_response && conn.closed.bytes_received > 0)
    };
    Sample {
        age: sample::age(sampled, sampled.closing_quiet),
        quiet: sample::quiet_at(sampled),
        request_open,
        segments: sampled.closing_segs,
    }
}

fn ending(conn: &ConnState, context: &Context) -> Ending {
    if conn.old_state == state::SYN_SENT {
        Ending::Abandoned
    } else if conn.marks & mark::OVERFLOWED != 0 {
        Ending::Overflowed
    } else if conn.marks & mark::ABORTED != 0 {
        Ending::Aborted(abort(conn, context))
    } else if conn.marks & mark::HALF_CLOSED != 0 {
        Ending::HalfClosed
    } else if conn.marks & mark::CLOSED_BY_OWNER != 0 {
        Ending::Closed
    } else if conn.reset.time_ns != 0 {
        Ending::ResetByPeer
    } else {
        Ending::Silent
    }
}

fn abort(conn: &ConnState, context: &Context) -> Abort {
    let by_owner = conn.reset_state == state::CLOSE;
    // Linux 6.10 and 6.11 have reasons, but give none for active resets.
    let given = context.reasons.name(conn.reset.reason).filter(|name| name.as_ref() != "NOT_SPECIFIED");
    Abort {
        reason: given.map_or_else(|| reason::of_abort(conn), |name| Reason::named(name)),
        derived: given.is_none(),
        by_owner,
        orphan: conn.reset_state == state::FIN_WAIT2 && conn.marks & (mark::CLOSED_BY_OWNER | mark::UNACCEPTED) != 0,
        linger0: conn.marks & mark::LINGER0 != 0,
        unaccepted: conn.marks & mark::UNACCEPTED != 0,
        unread: facts::unread_at_abort(conn),
    }
}
