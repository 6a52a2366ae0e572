//! How our side of a connection ended, and its owner's fate at that moment.

use std::time::Duration;

use rstwatch_common::record::{ConnState, PF_EXITING, ResetRecord, flags, last_payload, mark, role};

use super::{Context, GAP, Reason, reason};

/// The end of our side.
#[derive(Clone, Debug)]
pub struct End {
    /// How long before the reset; zero for an active reset, which is the end itself.
    pub ago: Duration,
    /// Silence before it ended, a goodbye not counted; `None` where work was open.
    pub idle: Option<Duration>,
    /// The last word was ours, after a silence: a goodbye, or a late answer.
    pub closing_message: bool,
    /// Whether work was open is not sure: question and answer bear the same time.
    pub uncertain: bool,
    /// Bytes of ours were not acknowledged.
    pub outstanding: bool,
    /// Nobody looked at the connection before its last words: how long it was silent is a guess.
    pub unsampled: bool,
    /// How it ended.
    pub ending: Ending,
    /// Whether its owner was on its way out.
    pub exit: Exit,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// close(), shutdown() or exit sent a FIN.
    Closed,
    /// shutdown(SHUT_WR): it went on reading, and what ended that was not seen.
    HalfClosed,
    /// An active reset.
    Aborted(Abort),
    /// The handshake failed on a full accept queue.
    Overflowed,
    /// It was reset by the other side.
    ResetByPeer,
    /// Without FIN or RST: a timeout, or socket repair.
    Silent,
}

/// What an active reset left from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Why, in the kernel's words.
    pub reason: Reason,
    /// The kernel did not say so: the fields did.
    pub derived: bool,
    /// The socket was CLOSE already: the owner did it. Otherwise it was destroyed alive, from outside or by a timer.
    pub by_owner: bool,
    /// It lingered in FIN_WAIT2 without an owner.
    pub orphan: bool,
    /// SO_LINGER with zero time.
    pub linger0: bool,
    /// Nobody had accepted it.
    pub unaccepted: bool,
    /// Received bytes not read.
    pub unread: u32,
}

/// Whether the owner was ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It lives.
    Running,
    /// Killed by a signal.
    Signal(u8),
    /// exit() with an error status.
    Failed(u8),
    /// exit(0).
    Orderly,
    /// exit of a process that was started for this one connection: its way to close.
    PerConnection,
}

impl Exit {
    /// `idle`: nothing was open.
    fn of(conn: &ConnState, idle: bool) -> Self {
        let owner = &conn.owner;
        if owner.flags & PF_EXITING == 0 {
            return Self::Running;
        }
        let (signal, status) = ((owner.exit_code & 0x7f) as u8, ((owner.exit_code >> 8) & 0xff) as u8);
        // fork() after accept(): younger than the connection that it serves.
        let serves_one = conn.role == role::SERVER && conn.established_ns != 0 && owner.start_ns > conn.established_ns;
        match (signal, status) {
            // Some report their idle timer by an error status.
            (0, status) if serves_one && (status == 0 || idle) => Self::PerConnection,
            (0, 0) => Self::Orderly,
            (0, status) => Self::Failed(status),
            (signal, _) => Self::Signal(signal),
        }
    }
}

/// How the connection of a sent reset ended; `None` where nothing is remembered.
pub(super) fn of(record: &ResetRecord, context: &Context) -> Option<End> {
    let conn = &record.conn;
    let remembered = record.flags & (flags::CONN_STATE | flags::TOMBSTONE) != 0;
    // A listener's own state is no connection's.
    if !remembered || conn.role == role::LISTENER {
        return None;
    }
    let ended = if conn.closing.time_ns != 0 { conn.closing.time_ns } else { conn.closed.time_ns };
    if ended == 0 || closed_before_the_agent(conn) {
        return None;
    }
    let (idle, closing_message, uncertain) = match interrupted(conn, context) {
        Interrupted::Work { uncertain } => (None, false, uncertain),
        Interrupted::Idle { jiffies, closing_message, uncertain } => {
            (context.jiffies(jiffies), closing_message, uncertain)
        }
        Interrupted::Unsampled { jiffies } => (context.jiffies(jiffies), true, true),
    };
    let unsampled = closing_message && conn.sampled.closing_quiet == 0;
    Some(End {
        ago: Duration::from_nanos(record.time_ns.saturating_sub(ended)),
        idle,
        closing_message,
        uncertain,
        unsampled,
        outstanding: outstanding(conn) > 0,
        ending: ending(conn, context),
        exit: Exit::of(conn, idle.is_some()),
    })
}

/// A goodbye is at most so long: TLS close_notify and QUIT take some 30 bytes, GOAWAY 70, the farewells of MySQL and
/// Postgres up to 200, a status 408 somewhat more.
pub(super) const MAX_CLOSING_BYTES: u32 = 512;

/// A goodbye leaves in so many: a protocol's own, and that of its encryption.
pub(super) const MAX_CLOSING_SEGMENTS: u16 = 2;

/// Our side had closed already when the agent came: how, and after which silence, was not seen.
fn closed_before_the_agent(conn: &ConnState) -> bool {
    use rstwatch_common::record::state::{CLOSING, FIN_WAIT1, FIN_WAIT2, LAST_ACK};
    conn.closing.time_ns == 0 && matches!(conn.old_state, FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK)
}

/// Bytes under way when our side closed; wild where the numbers were torn.
fn outstanding(conn: &ConnState) -> u32 {
    if conn.closing.outstanding < 1 << 30 { conn.closing.outstanding } else { 0 }
}

/// What our side's end interrupted.
enum Interrupted {
    /// A request: the client had asked and not heard, the server been asked and not answered, or data was to be delivered.
    Work {
        /// Question and answer bear the same time: which came last was not seen.
        uncertain: bool,
    },
    /// Nothing, for so many jiffies.
    Idle {
        /// Jiffies.
        jiffies: u32,
        /// The server said something short before it went, as TLS and many protocols do; or it was a late answer.
        closing_message: bool,
        /// A question may have been open: it bears the time of the last answer.
        uncertain: bool,
    },
    /// A silence of so many jiffies, which our own last words ended: an answer or a goodbye, and nobody had looked.
    Unsampled {
        /// Jiffies.
        jiffies: u32,
    },
}

/// Who spoke last tells whether something was open. The times are jiffies, so a quick exchange may be a tie, and nothing that
/// follows is sure. The last ACK is a hint: one that came later than both was sent for its own sake, for what was said last. If
/// it bears the same time too, a client has its answer, and a server that closes has answered, most likely.
fn interrupted(conn: &ConnState, context: &Context) -> Interrupted {
    let (sent, received) = (conn.closing.sent_age, conn.closing.received_age);
    let quiet = |jiffies| context.jiffies(jiffies).is_some_and(|length| length >= GAP);
    let tie = sent == received;
    let acknowledged_later = tie && conn.closing.ack_age < received;
    let (said, heard) = (conn.closed.bytes_sent > 0, conn.closed.bytes_received > 0);
    let asked = conn.role == role::CLIENT && said && (sent < received || acknowledged_later || !heard);
    let owing = conn.role == role::SERVER && (received < sent || (heard && !said));
    // A client delays the ACK of an answer, once it has had some: an ACK with the times of both came with the next question.
    let asked_last = conn.sampled.last_payload == last_payload::PEERS || is_old(conn);
    let next_question = conn.role == role::SERVER && tie && !acknowledged_later && asked_last;
    if next_question && quiet(received) {
        return Interrupted::Work { uncertain: true };
    }
    if asked || owing || outstanding(conn) > MAX_CLOSING_BYTES {
        // What a client says just before it goes, after a silence, is a goodbye or a question that it did not mean.
        let closing_message = !quiet(sent) && quiet(received);
        return Interrupted::Work { uncertain: asked && heard && (closing_message || tie) };
    }
    let uncertain = tie;
    let last = sent.min(received);
    if conn.role == role::CLIENT || quiet(sent) || !quiet(received) {
        return Interrupted::Idle { jiffies: last, closing_message: false, uncertain };
    }
    match final_message(conn) {
        FinalMessage::Closing { silence } => {
            Interrupted::Idle { jiffies: silence.max(last), closing_message: quiet(silence), uncertain: false }
        }
        FinalMessage::Answer => Interrupted::Idle { jiffies: last, closing_message: false, uncertain: false },
        FinalMessage::Long => Interrupted::Work { uncertain: true },
        FinalMessage::Unsampled => Interrupted::Unsampled { jiffies: received },
    }
}

/// Segments that are acknowledged at once when a connection is new (TCP_MAX_QUICKACKS, include/net/tcp.h).
const QUICK_ACKS: u16 = 16;

fn is_old(conn: &ConnState) -> bool {
    conn.sampled.closing_quiet != 0 && conn.sampled.segs_out.saturating_add(conn.sampled.closing_segs) > QUICK_ACKS
}

/// What a server said after the client had been silent, before it closed.
enum FinalMessage {
    /// Something short, after so many jiffies in which it had nothing to answer.
    Closing {
        /// Jiffies.
        silence: u32,
    },
    /// An answer, or the end of a stream.
    Answer,
    /// Too much for a goodbye, after a silence in which it had nothing to answer.
    Long,
    /// Nobody looked in time, and what it said is short.
    Unsampled,
}

fn final_message(conn: &ConnState) -> FinalMessage {
    let few = conn.sampled.closing_segs <= MAX_CLOSING_SEGMENTS;
    let short = few && u32::from(conn.sampled.closing_bytes) <= MAX_CLOSING_BYTES;
    match (conn.sampled.closing_quiet, conn.sampled.last_payload) {
        (0, _) if conn.closed.bytes_sent > u64::from(MAX_CLOSING_BYTES) => FinalMessage::Answer,
        (0, _) => FinalMessage::Unsampled,
        // Asked before the silence, and answered after it.
        (_, last_payload::PEERS) => FinalMessage::Answer,
        (quiet, _) if short => FinalMessage::Closing { silence: quiet.saturating_sub(conn.closing.sent_age) },
        _ if conn.sampled.closing_segs <= MAX_CLOSING_SEGMENTS => FinalMessage::Long,
        _ => FinalMessage::Answer,
    }
}

fn ending(conn: &ConnState, context: &Context) -> Ending {
    if conn.marks & mark::OVERFLOWED != 0 {
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
    use rstwatch_common::record::state;
    let fin = u32::from(conn.fin.time_ns != 0);
    let unread = conn.reset.unread.saturating_sub(fin);
    let by_owner = conn.reset_state == state::CLOSE;
    // Linux 6.10 and 6.11 know the names, and give none to active resets.
    let given = context.reasons.name(conn.reset.reason).filter(|name| name.as_ref() != "NOT_SPECIFIED");
    Abort {
        reason: given.map_or_else(|| reason::of_abort(conn), |name| Reason::named(name)),
        derived: given.is_none(),
        by_owner,
        orphan: conn.reset_state == state::FIN_WAIT2 && conn.marks & (mark::CLOSED_BY_OWNER | mark::UNACCEPTED) != 0,
        linger0: conn.marks & mark::LINGER0 != 0,
        unaccepted: conn.marks & mark::UNACCEPTED != 0,
        unread,
    }
}
