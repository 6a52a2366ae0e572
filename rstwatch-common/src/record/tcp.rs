//! The state of a TCP socket: what `tcp_sock` holds at the event.

/// TCP states, a stable ABI (`BPF_TCP_*` in uapi/linux/bpf.h).
pub mod state {
    /// Data flows.
    pub const ESTABLISHED: u8 = 1;
    /// connect() awaits the SYN-ACK.
    pub const SYN_SENT: u8 = 2;
    /// The handshake's last ACK is awaited.
    pub const SYN_RECV: u8 = 3;
    /// We closed first.
    pub const FIN_WAIT1: u8 = 4;
    /// Our FIN is acknowledged.
    pub const FIN_WAIT2: u8 = 5;
    /// Both closed.
    pub const TIME_WAIT: u8 = 6;
    /// No connection.
    pub const CLOSE: u8 = 7;
    /// The peer closed first.
    pub const CLOSE_WAIT: u8 = 8;
    /// The peer closed first, then we.
    pub const LAST_ACK: u8 = 9;
    /// A listener.
    pub const LISTEN: u8 = 10;
    /// Both FINs crossed.
    pub const CLOSING: u8 = 11;
    /// A connection request.
    pub const NEW_SYN_RECV: u8 = 12;
}

/// Bits of `sock.sk_flags` (enum sock_flags; its head has not moved since 2.6).
pub mod sock_flag {
    /// Orphaned: no file refers to it.
    pub const DEAD: u32 = 1;
    /// SO_KEEPALIVE.
    pub const KEEPOPEN: u32 = 1 << 3;
    /// SO_LINGER.
    pub const LINGER: u32 = 1 << 4;
}

wire! {
    /// The numbers of `tcp_sock` at the event. Ages in jiffies; `u32::MAX`: this kernel has no such field.
    pub struct TcpFacts {
        /// Payload bytes sent, retransmissions included.
        pub bytes_sent: u64,
        /// Payload bytes received.
        pub bytes_received: u64,
        /// Nanoseconds since the oldest unacknowledged segment was (re)sent; 0: nothing outstanding.
        pub rtx_age_ns: u64,
        /// Nanoseconds since the first segment left of those that are outstanding, retransmissions or not: since the
        /// operation began. 0: this kernel lacks the field.
        pub operation_age_ns: u64,
        /// Since payload was sent.
        pub sent_age: u32,
        /// Since an ACK was accepted.
        pub ack_age: u32,
        /// Since payload was received.
        pub received_age: u32,
        /// Since an out-of-window segment (a peer's keepalive) came.
        pub oow_age: u32,
        /// First unacknowledged byte.
        pub snd_una: u32,
        /// Next byte to send.
        pub snd_nxt: u32,
        /// End of what the application wrote.
        pub write_seq: u32,
        /// Next byte expected.
        pub rcv_nxt: u32,
        /// Next byte to be read by the application.
        pub copied_seq: u32,
        /// Segments in flight.
        pub packets_out: u32,
        /// Segments with payload received.
        pub data_segs_in: u32,
        /// Segments with payload sent.
        pub data_segs_out: u32,
        /// Smoothed round trip, microseconds times eight.
        pub srtt_us: u32,
        /// Minimum round trip, microseconds.
        pub rtt_min_us: u32,
        /// Retransmission timeout, jiffies.
        pub rto: u32,
        /// `tp->retrans_stamp`.
        pub retrans_stamp: u32,
        /// The peer's last timestamp; 0: timestamps were not negotiated.
        pub ts_recent: u32,
        /// `rcv_nxt` as of the last segment that we sent: what we have acknowledged.
        pub rcv_wup: u32,
        /// Connections in the accept queue (a listener's).
        pub ack_backlog: u32,
        /// Its limit.
        pub max_ack_backlog: u32,
        /// `sk_flags`, low word: [`sock_flag`].
        pub sk_flags: u32,
        /// Consecutive retransmission timeouts.
        pub retransmits: u8,
        /// Exponential backoff.
        pub backoff: u8,
        /// Unanswered probes.
        pub probes_out: u8,
        /// `sk_shutdown`: 1 receive, 2 send.
        pub shutdown: u8,
    }
}
