//! The state of a TCP socket at the time of the event, from `tcp_sock` and `sock`.

/// TCP states, a stable ABI (`BPF_TCP_*` in uapi/linux/bpf.h).
pub mod state {
    /// The handshake is complete; data can flow.
    pub const ESTABLISHED: u8 = 1;
    /// connect() waits for the SYN-ACK.
    pub const SYN_SENT: u8 = 2;
    /// Waiting for the handshake's last ACK.
    pub const SYN_RECV: u8 = 3;
    /// We closed first; our FIN is not acknowledged yet.
    pub const FIN_WAIT1: u8 = 4;
    /// Our FIN is acknowledged; waiting for the peer's.
    pub const FIN_WAIT2: u8 = 5;
    /// Both ends closed; late segments are still handled.
    pub const TIME_WAIT: u8 = 6;
    /// No connection.
    pub const CLOSE: u8 = 7;
    /// The peer closed first.
    pub const CLOSE_WAIT: u8 = 8;
    /// The peer closed first, then we did; our FIN is not acknowledged yet.
    pub const LAST_ACK: u8 = 9;
    /// A listener.
    pub const LISTEN: u8 = 10;
    /// Both ends closed at once: the FINs crossed.
    pub const CLOSING: u8 = 11;
    /// A connection request on a listener (`request_sock`).
    pub const NEW_SYN_RECV: u8 = 12;
}

/// Bits of `sock.sk_flags` (enum sock_flags, whose first values have not changed since 2.6).
pub mod sock_flag {
    /// Orphaned: no file refers to it.
    pub const DEAD: u32 = 1;
    /// The peer's FIN has come (net/ipv4/tcp_input.c, tcp_fin).
    pub const DONE: u32 = 1 << 1;
    /// SO_KEEPALIVE.
    pub const KEEPOPEN: u32 = 1 << 3;
    /// SO_LINGER.
    pub const LINGER: u32 = 1 << 4;
}

wire! {
    /// Fields of `tcp_sock` at the time of the event. Ages are in jiffies; `u32::MAX` means that this kernel lacks the field.
    pub struct TcpFacts {
        /// Payload bytes sent, retransmissions included.
        pub bytes_sent: u64,
        /// Payload bytes received.
        pub bytes_received: u64,
        /// Nanoseconds since the oldest unacknowledged segment was last sent; 0 if none is outstanding.
        pub rtx_age_ns: u64,
        /// Nanoseconds since the first of the outstanding segments was first sent. 0 if this kernel lacks the field.
        pub operation_age_ns: u64,
        /// Age of the last payload sent.
        pub sent_age: u32,
        /// Age of the last ACK accepted.
        pub ack_age: u32,
        /// Age of the last payload received.
        pub received_age: u32,
        /// Age of the last out-of-window segment, such as a peer's keepalive.
        pub oow_age: u32,
        /// First unacknowledged byte.
        pub snd_una: u32,
        /// Next byte to send.
        pub snd_nxt: u32,
        /// End of what the application wrote.
        pub write_seq: u32,
        /// Next byte expected.
        pub rcv_nxt: u32,
        /// Next byte that the application will read.
        pub copied_seq: u32,
        /// Segments in flight.
        pub packets_out: u32,
        /// Segments with payload received.
        pub data_segs_in: u32,
        /// Segments with payload sent.
        pub data_segs_out: u32,
        /// Smoothed round-trip time, in eighths of a microsecond.
        pub srtt_us: u32,
        /// Minimum round-trip time in microseconds.
        pub rtt_min_us: u32,
        /// Retransmission timeout in jiffies.
        pub rto: u32,
        /// `tp->retrans_stamp`.
        pub retrans_stamp: u32,
        /// The peer's last timestamp; 0 if timestamps were not negotiated.
        pub ts_recent: u32,
        /// `rcv_nxt` at the last window update sent: what we have acknowledged.
        pub rcv_wup: u32,
        /// Length of the accept queue, if the socket is a listener.
        pub ack_backlog: u32,
        /// Limit of the accept queue.
        pub max_ack_backlog: u32,
        /// `sk_flags`, low word: [`sock_flag`].
        pub sk_flags: u32,
        /// Consecutive retransmission timeouts.
        pub retransmits: u8,
        /// Exponent of the retransmission backoff.
        pub backoff: u8,
        /// Unanswered keepalive or zero-window probes.
        pub probes_out: u8,
        /// `sk_shutdown`: 1 receive, 2 send.
        pub shutdown: u8,
    }
}
