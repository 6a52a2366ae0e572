//! What is kept of a connection while its socket lives, and as a tombstone for a while after.

use super::segment::Segment;
use super::task::Task;

/// `ConnState::role`.
pub mod role {
    /// Not seen.
    pub const UNKNOWN: u8 = 0;
    /// Called connect().
    pub const CLIENT: u8 = 1;
    /// Was accepted by a listener.
    pub const SERVER: u8 = 2;
    /// Is a listener.
    pub const LISTENER: u8 = 3;
}

/// Bits of `ConnState::marks`.
pub mod mark {
    /// A receive event was reported for this socket and not yet confirmed as a real one.
    pub const RECEIVED: u32 = 1;
    /// The receive event was counted, but its detail was lost.
    pub const RECEIVED_LOST: u32 = 1 << 1;
    /// `owner` and `closing` come from the process that closed: it called close() or shutdown(), or exited.
    pub const CLOSED_BY_OWNER: u32 = 1 << 2;
    /// Our side only half-closed (SHUT_WR): it went on reading.
    pub const HALF_CLOSED: u32 = 1 << 3;
    /// The accept queue was full when its last handshake segment came.
    pub const OVERFLOWED: u32 = 1 << 4;
    /// We aborted it (an active RST).
    pub const ABORTED: u32 = 1 << 5;
    /// The connection was never accepted when it was aborted.
    pub const UNACCEPTED: u32 = 1 << 6;
    /// SO_LINGER with zero time was set when it was aborted.
    pub const LINGER0: u32 = 1 << 7;
    /// Probes were unanswered, and nothing else was in flight, when it was aborted.
    pub const PROBING: u32 = 1 << 8;
    /// No program held it any more when it was aborted.
    pub const ORPHANED: u32 = 1 << 9;
}

/// `Sampled::last_payload`: the side that sent the last payload.
pub mod last_payload {
    /// No sample, or the last payloads of both sides have the same time.
    pub const UNKNOWN: u16 = 0;
    /// We did: a client is waiting, a server has answered.
    pub const OURS: u16 = 1;
    /// The peer did.
    pub const PEERS: u16 = 2;
}

wire! {
    /// When the peer's FIN came, and how quiet the connection was then.
    pub struct Fin {
        /// When it came.
        pub time_ns: u64,
        /// Jiffies since we had sent payload.
        pub sent_age: u32,
        /// Jiffies since the peer had sent payload.
        pub received_age: u32,
        /// Received bytes not read, the FIN's sequence number included.
        pub unread: u32,
        /// `data_segs_out` (low half).
        pub segs_out: u16,
        /// Padding.
        pub reserved: u16,
    }
}

wire! {
    /// When our side closed or aborted, and how quiet the connection was then.
    pub struct Closing {
        /// When it closed.
        pub time_ns: u64,
        /// Jiffies since we had sent payload.
        pub sent_age: u32,
        /// Jiffies since the peer had sent payload.
        pub received_age: u32,
        /// Jiffies since the peer had acknowledged anything; `u32::MAX` where we send keepalives.
        pub ack_age: u32,
        /// Bytes written and not acknowledged.
        pub outstanding: u32,
    }
}

wire! {
    /// When the socket became CLOSE, and what it had carried.
    pub struct Closed {
        /// When it became CLOSE.
        pub time_ns: u64,
        /// Payload bytes sent.
        pub bytes_sent: u64,
        /// Payload bytes received.
        pub bytes_received: u64,
    }
}

wire! {
    /// The reset that ended the connection: an RST accepted, or our own abort.
    pub struct Reset {
        /// When the first RST was sent or accepted.
        pub time_ns: u64,
        /// Kernel's reason of our abort.
        pub reason: u32,
        /// Received bytes not read when our side aborted.
        pub unread: u32,
    }
}

wire! {
    /// The last RST that reached the socket, accepted or not.
    pub struct Rst {
        /// When it was seen.
        pub time_ns: u64,
        /// Its header.
        pub segment: Segment,
    }
}

/// Two challenge ACKs further apart than this are unrelated, and so are one and a later RST: 2 s, in nanoseconds.
pub const CHALLENGE_NS: u64 = 2_000_000_000;

wire! {
    /// Segments answered with a challenge ACK (RFC 5961), RSTs that were not accepted among them.
    pub struct Challenge {
        /// When the last one came.
        pub time_ns: u64,
        /// How many came, each within [`CHALLENGE_NS`] of the one before.
        pub count: u32,
        /// Padding.
        pub reserved: u32,
    }
}

wire! {
    /// What the periodic scan found, and how long the connection had been quiet by that when a side ended.
    pub struct Sampled {
        /// Jiffies (low word) of the last sample; 0: none yet.
        pub jiffies: u32,
        /// Jiffies (low word) of the last payload, as of that sample.
        pub active: u32,
        /// `bytes_sent` (low word) as of that sample.
        pub bytes_sent: u32,
        /// `data_segs_out` (low half) as of that sample.
        pub segs_out: u16,
        /// `data_segs_in` (low half) as of that sample.
        pub segs_in: u16,
        /// [`last_payload`] as of that sample. Not among the marks: other programs change those at the same time.
        pub last_payload: u16,
        /// Segments with payload that came after that sample until the peer's FIN, modulo 2^16.
        pub fin_segs: u16,
        /// Jiffies from `active` until the peer's FIN; 0: no sample.
        pub fin_quiet: u32,
        /// Jiffies from `active` until our side closed; 0: no sample.
        pub closing_quiet: u32,
        /// Payload bytes that we sent after that sample until our side closed; at most `u16::MAX`.
        pub closing_bytes: u16,
        /// Segments that carried them, modulo 2^16.
        pub closing_segs: u16,
    }
}

wire! {
    /// The state of one connection.
    pub struct ConnState {
        /// The task that connected, listened or closed it.
        pub owner: Task,
        /// When it became ESTABLISHED.
        pub established_ns: u64,
        /// The peer's FIN.
        pub fin: Fin,
        /// The end of our side.
        pub closing: Closing,
        /// The end of the socket.
        pub closed: Closed,
        /// The reset that ended it.
        pub reset: Reset,
        /// The last RST that reached it.
        pub rst: Rst,
        /// The challenge ACKs that it sent.
        pub challenge: Challenge,
        /// What the periodic scan found.
        pub sampled: Sampled,
        /// Next byte expected, when it was last read: at closing, abort or CLOSE.
        pub rcv_nxt: u32,
        /// Next byte to send, when it was last read: at abort or CLOSE.
        pub snd_nxt: u32,
        /// [`mark`] bits.
        pub marks: u32,
        /// [`role`].
        pub role: u8,
        /// TTL or hop limit of the peer's handshake; 0: not seen.
        pub ttl: u8,
        /// State before CLOSE.
        pub old_state: u8,
        /// State in which our side aborted, as the hook saw it.
        pub reset_state: u8,
    }
}
