//! Stage 3: what a record says about one reset, in the terms of the rules. Decides nothing.

mod actor;
mod end;
mod facts;
pub mod forgery;
mod idle;
mod reason;
mod received;
mod sample;
mod sent;

use std::net::SocketAddr;
use std::time::Duration;

pub use actor::Actor;
pub use end::{Abort, End, Ending, Exit};
pub use facts::{header as rst_header, unread};
pub use forgery::{Aftermath, Forgery, Origin, Signal, is_beyond};
pub use idle::{Gap, MAX_CLOSING_BYTES, is_timers};
pub use reason::Reason;
pub use received::{Delivery, Shape, is_phantom};

use rstwatch_common::record::{ResetRecord, kind};

use crate::cause::{Candidates, Cause, Confidence, Direction, Sender};
use crate::reasons::Reasons;
use crate::text::Sentence;

/// The shortest idle gap: one second, less the resolution of the kernel's clocks. Shorter pauses are normal on a busy
/// connection.
pub const GAP: Duration = Duration::from_millis(980);

/// Whether a client that waited this long gave up: after a whole number of seconds, as programs set their timeouts.
pub fn is_timeout(waited: Duration) -> bool {
    waited >= GAP && is_timers(waited)
}

/// What the evidence needs besides the record.
#[derive(Clone, Debug)]
pub struct Context {
    /// Names of the kernel's reasons.
    pub reasons: Reasons,
    /// Length of a jiffy.
    pub jiffy: Duration,
    /// Nanoseconds to add to `CLOCK_MONOTONIC` for the time of day.
    pub wall_offset_ns: i128,
    /// Host name.
    pub node: std::sync::Arc<str>,
}

impl Context {
    fn jiffies(&self, count: u32) -> Option<Duration> {
        (count != u32::MAX).then(|| self.jiffy.saturating_mul(count))
    }
}

/// Everything that a verdict may depend on.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// This host's stack sent an RST.
    Sent(Sent),
    /// A socket of this host accepted one.
    Received(Received),
    /// This host's netfilter sent one.
    Firewall(Firewall),
}

/// A sent reset.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The kernel's reason, or the one derived from the record's fields.
    pub reason: Reason,
    /// The kernel gave no reason.
    pub derived: bool,
    /// The segment that the reset answers; `None` for an active reset.
    pub answered: Option<Answered>,
    /// Which socket the segment reached.
    pub socket: SocketClass,
    /// How our side of the connection had ended, if there was a connection.
    pub end: Option<End>,
    /// The listener's accept queue was full.
    pub queue_full: bool,
    /// The connection is an MPTCP subflow.
    pub subflow: bool,
    /// This end opened the connection, and neither side sent payload.
    pub opened_unused: bool,
    /// Neither side sent payload, and whether this end opened the connection was not seen.
    pub maybe_opened_unused: bool,
    /// The bytes that were left unread came after this long a silence; `None` without such bytes.
    pub silence_before_unread: Option<Duration>,
    /// An RST had ended the connection here, and this segment from the peer lies beyond it.
    pub resumed: bool,
    /// The origin of that RST, if its record was seen.
    pub ended_by: Option<EndedBy>,
    /// The verdict on that RST.
    pub ended_because: Option<EndedBecause>,
    /// How long before the reset this node's conntrack table was full, if that was after the peer was last heard.
    pub conntrack_full: Option<Duration>,
    /// The remote end of the live connection that the answered segment belongs to: the segment bears another address.
    pub untranslated: Option<SocketAddr>,
    /// The running task: it destroyed the socket, if that was destroyed alive.
    pub actor: Option<Actor>,
}

/// The origin of an RST that ended a connection on which the peer still sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// This host's firewall.
    LocalFirewall,
    /// Possibly another firewall.
    AnotherFirewall,
    /// Another sender, after an idle period.
    Idle,
    /// Another sender, on a busy connection.
    Busy,
}

/// The verdict on an RST that ended a connection: it is that of the connection's late segments too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedBecause {
    /// Who sent it.
    pub sender: Sender,
    /// Its cause.
    pub cause: Cause,
    /// The causes that remain.
    pub candidates: Candidates,
    /// How sure it is.
    pub confidence: Confidence,
}

/// The segment that provoked a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// SYN is set.
    pub syn: bool,
    /// ACK is set.
    pub ack: bool,
    /// FIN is set.
    pub fin: bool,
    /// Bytes of payload.
    pub payload: u32,
    /// It has the position of the last ACK of a handshake with this listener.
    pub handshake: bool,
}

/// The socket that a segment reached, or that sent an active reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketClass {
    /// No socket.
    NoSocket,
    /// Only a listener.
    Listener,
    /// A TIME_WAIT mini-socket: this side had closed.
    TimeWait,
    /// The connection itself.
    Connection,
}

/// A received reset.
#[derive(Clone, Debug)]
pub struct Received {
    /// The verdict of the sending end, if that end is on this host.
    pub sender_verdict: Option<SenderVerdict>,
    /// The other end is on this host and did not send the RST, and no record was lost that could say who did.
    pub other_end_silent: bool,
    /// The RST answered our SYN.
    pub connecting: bool,
    /// Whether this end opened or accepted the connection was seen. If not, a request may have been open.
    pub role_seen: bool,
    /// Our side had closed before.
    pub we_closed: bool,
    /// The peer's FIN had arrived before.
    pub peer_closed: bool,
    /// How long before the RST the FIN arrived, if that was seen.
    pub fin_ago: Option<Duration>,
    /// How long before the FIN the peer, a client, had sent the request that was open then.
    pub request_before_fin: Option<Duration>,
    /// The idle gap before the RST.
    pub gap: Gap,
    /// Time since the peer was last heard, its ACKs included.
    pub unheard: Option<Duration>,
    /// The shape of the RST segment.
    pub shape: Shape,
    /// Signs that the peer did not send it.
    pub forgery: Forgery,
    /// What happened to our data.
    pub delivery: Delivery,
    /// The connection is an MPTCP subflow.
    pub subflow: bool,
    /// The peer sent keepalive probes within the last minute.
    pub peer_probed: bool,
    /// Time since the connection was established.
    pub age: Option<Duration>,
    /// What happened to other connections to the same server.
    pub correlation: Correlation,
}

/// Other connections to the server whose connection was reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correlation {
    /// Number of other connections that ended at the same moment.
    pub ended_together: usize,
    /// A new connection has been refused since.
    pub refused_since: bool,
}

/// The verdict of the sending end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderVerdict {
    /// Why it sent the RST.
    pub cause: Cause,
    /// Who emitted the RST.
    pub sender: Sender,
    /// How sure the sender is.
    pub sender_confidence: Confidence,
    /// How sure the cause is.
    pub confidence: Confidence,
    /// The causes that remain.
    pub candidates: Candidates,
    /// The shape of the RST, for a receiver that did not see its header.
    pub shape: Shape,
    /// The RST answered a late segment of a connection that an RST in this end's name had ended.
    pub after_rst: bool,
    /// The sentence of its rule.
    pub because: Sentence,
}

/// A firewall reject.
#[derive(Clone, Copy, Debug)]
pub struct Firewall {
    /// The rejected segment was a SYN.
    pub syn: bool,
    /// Inferred from the dropped segment; the reject itself was not seen.
    pub inferred: bool,
    /// How long before the reject this node's conntrack table was full, if recently.
    pub conntrack_full: Option<Duration>,
}

impl Evidence {
    /// Whether the reason was derived from fields or from a dropped segment. Such a verdict is never certain.
    pub fn is_derived(&self) -> bool {
        match self {
            Self::Sent(sent) => {
                let aborted = |end: &End| matches!(end.ending, Ending::Aborted(abort) if abort.derived);
                sent.derived || sent.end.as_ref().is_some_and(aborted)
            }
            Self::Firewall(reject) => reject.inferred,
            Self::Received(_) => false,
        }
    }

    /// Whether this host answered a segment of a connection that an RST had ended.
    pub fn ended_by_rst(&self) -> bool {
        let by_rst = |end: &End| end.ending == Ending::ResetByPeer;
        matches!(self, Self::Sent(Sent { answered: Some(_), end: Some(end), .. }) if by_rst(end))
    }

    /// The shape of the RST.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Received(received) => received.shape,
            Self::Sent(Sent { answered: None, .. }) => Shape::Abort,
            Self::Sent(_) | Self::Firewall(_) => Shape::NoConnection,
        }
    }

    /// The direction of the RST.
    pub fn direction(&self) -> Direction {
        match self {
            Self::Received(_) => Direction::Received,
            Self::Sent(_) | Self::Firewall(_) => Direction::Sent,
        }
    }
}

/// The evidence in one record.
pub fn of_record(record: &ResetRecord, context: &Context) -> Evidence {
    match record.kind {
        kind::RECEIVED => Evidence::Received(received::evidence(record, context)),
        kind::FIREWALL => Evidence::Firewall(sent::firewall(record)),
        _ => Evidence::Sent(sent::evidence(record, context)),
    }
}
