//! Stage 3: what a record says about one reset, in the words of the playbook. No verdict is made here.

mod end;
pub mod forgery;
mod idle;
mod reason;
mod received;
mod sent;

use std::time::Duration;

pub use end::{Abort, End, Ending, Exit};
pub use forgery::{Aftermath, Forgery, Signal, is_beyond};
pub use idle::Gap;
pub use reason::Reason;
pub use received::{Delivery, Shape, header as rst_header, is_phantom};

use rstwatch_common::record::{ResetRecord, kind};

use crate::cause::{Cause, Confidence, Direction, Sender};
use crate::reasons::Reasons;

/// A silence is a gap from here on, one second less the grain of the kernel's clocks; shorter ones are the rhythm of a working
/// connection.
pub const GAP: Duration = Duration::from_millis(980);

/// What is needed beside the record.
#[derive(Clone, Debug)]
pub struct Context {
    /// Names of the kernel's reasons.
    pub reasons: Reasons,
    /// Length of a jiffy.
    pub jiffy: Duration,
    /// Nanoseconds to be added to `CLOCK_MONOTONIC` for the time of day.
    pub wall_offset_ns: i128,
    /// Host name.
    pub node: std::sync::Arc<str>,
}

impl Context {
    fn jiffies(&self, count: u32) -> Option<Duration> {
        (count != u32::MAX).then(|| self.jiffy.saturating_mul(count))
    }
}

/// Everything a verdict may rest on.
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
    /// The kernel's reason, or what its fields say where it gives none.
    pub reason: Reason,
    /// The kernel gave none.
    pub derived: bool,
    /// The segment that it answers; `None` for an active reset.
    pub answered: Option<Answered>,
    /// What the segment met.
    pub socket: SocketClass,
    /// How our side of the connection ended, where it had one.
    pub end: Option<End>,
    /// The listener's accept queue was full.
    pub queue_full: bool,
    /// It is an MPTCP subflow.
    pub subflow: bool,
    /// An RST had ended the connection here, and this segment of the peer's lies beyond it.
    pub resumed: bool,
    /// What that RST was found to be, if its record was seen.
    pub ended_by: Option<EndedBy>,
    /// How long before the reset this node's conntrack table was full, if it was since the peer was last heard.
    pub conntrack_full: Option<Duration>,
    /// The task that ran, as `comm[pid]`: who destroyed the socket, where it was destroyed alive.
    pub actor: String,
}

/// The RST that ended a connection on which the peer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// This host's firewall's.
    LocalFirewall,
    /// Perhaps another firewall's.
    AnotherFirewall,
    /// Another's, after a silence.
    Idle,
    /// Another's, on a busy connection.
    Busy,
}

/// The segment that provoked a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// It opened a connection.
    pub syn: bool,
    /// It acknowledged something.
    pub ack: bool,
    /// It closed.
    pub fin: bool,
    /// Bytes of payload.
    pub payload: u32,
    /// It stands where the last ACK of a handshake with this listener would.
    pub handshake: bool,
}

/// What a segment met, or what an active reset left from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketClass {
    /// No socket.
    Nothing,
    /// A listener only.
    Listener,
    /// A TIME_WAIT mini-socket: we had closed.
    TimeWait,
    /// The connection itself.
    Connection,
}

/// A received reset.
#[derive(Clone, Debug)]
pub struct Received {
    /// What the sending end's own record said, if that end is on this host.
    pub sender_verdict: Option<SenderVerdict>,
    /// It answered our SYN.
    pub connecting: bool,
    /// We had closed our side before.
    pub we_closed: bool,
    /// The peer had closed its side before.
    pub peer_closed: bool,
    /// How long before, if that was seen.
    pub fin_ago: Option<Duration>,
    /// Silence, and what ended it.
    pub gap: Gap,
    /// What sort of segment it was.
    pub shape: Shape,
    /// Signs that it is not the peer's.
    pub forgery: Forgery,
    /// What became of our data.
    pub delivery: Delivery,
    /// The peer probed us with keepalives within the last minute.
    pub peer_probed: bool,
    /// Since it was established.
    pub age: Option<Duration>,
    /// What became of other connections to the same server.
    pub correlation: Correlation,
}

/// Other connections to the server of a connection that was reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correlation {
    /// How many more ended at the same moment.
    pub ended_together: usize,
    /// A new one was refused since.
    pub refused_since: bool,
}

/// The verdict of the sending end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderVerdict {
    /// Why it sent.
    pub cause: Cause,
    /// Who sent.
    pub sender: Sender,
    /// How sure it is of that.
    pub confidence: Confidence,
    /// Its sentence.
    pub because: String,
}

/// A firewall reject.
#[derive(Clone, Copy, Debug)]
pub struct Firewall {
    /// It rejected the opening of a connection.
    pub syn: bool,
    /// Inferred from the dropped segment, not seen where it was made.
    pub inferred: bool,
    /// How long before this node's conntrack table was full, if recently.
    pub conntrack_full: Option<Duration>,
}

impl Evidence {
    /// The kernel did not say why: its fields did, or a dropped segment, which is never certain.
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

    /// Which way the RST went.
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
