//! The ring record: one fixed size for every reset, facts only.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds (0: did not happen) or jiffies, as the kernel keeps them.

use crate::flow::Flow;

/// First word of every record; changes with its shape.
pub const MAGIC: u32 = 0x5253_5407;

/// What happened.
pub mod kind {
    /// The stack sent an RST (`tcp_send_reset`).
    pub const SENT: u8 = 1;
    /// A socket accepted an RST (`tcp_receive_reset`).
    pub const RECEIVED: u8 = 2;
    /// netfilter sent an RST (`nf_send_reset`).
    pub const FIREWALL: u8 = 3;
    /// An RST came for a connection that another one had ended just before: evidence, not a reset of its own.
    pub const STRAY: u8 = 4;
}

/// What stood behind `sk` at the hook.
pub mod sk_class {
    /// No socket.
    pub const NONE: u8 = 0;
    /// A connection's socket.
    pub const FULL: u8 = 1;
    /// A listener.
    pub const LISTEN: u8 = 2;
    /// A TIME_WAIT mini-socket.
    pub const TIME_WAIT: u8 = 3;
}

/// Bits of `ResetRecord::flags`.
pub mod flags {
    /// A segment provoked it (skb was not NULL).
    pub const SKB: u32 = 1;
    /// `tcp` is filled.
    pub const TCP: u32 = 1 << 1;
    /// `memory` is the socket's.
    pub const MEMORY: u32 = 1 << 2;
    /// `memory` is what was remembered of a connection that is gone.
    pub const TOMBSTONE: u32 = 1 << 3;
    /// A receive event of the same socket came just before, and its record left: it was a phantom.
    pub const PHANTOM: u32 = 1 << 5;
    /// The segment's sequence number follows that of a SYN that came to this listener before.
    pub const HANDSHAKE: u32 = 1 << 4;
    /// The reject was inferred from a dropped segment, not seen at nf_send_reset.
    pub const INFERRED: u32 = 1 << 7;
}

/// Bits of `Segment::present`.
pub mod present {
    /// The segment was seen.
    pub const SEGMENT: u8 = 1;
    /// It had the timestamp option.
    pub const TIMESTAMPS: u8 = 1 << 1;
    /// It came over IPv4, so `ip_id` means something.
    pub const IPV4: u8 = 1 << 2;
}

/// TCP header flags (RFC 9293 section 3.1).
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise.
    pub const SYN: u8 = 1 << 1;
    /// Reset.
    pub const RST: u8 = 1 << 2;
    /// Push.
    pub const PSH: u8 = 1 << 3;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 1 << 4;
}

/// TCP states, a stable ABI (`BPF_TCP_*` in uapi/linux/bpf.h).
pub mod state {
    /// Data flows.
    pub const ESTABLISHED: u8 = 1;
    /// connect() waits for the SYN-ACK.
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

/// `Memory::role`.
pub mod role {
    /// Not seen.
    pub const UNKNOWN: u8 = 0;
    /// Called connect().
    pub const CLIENT: u8 = 1;
    /// Came out of a listener.
    pub const SERVER: u8 = 2;
    /// Is a listener.
    pub const LISTENER: u8 = 3;
}

/// Bits of `Memory::marks`.
pub mod mark {
    /// A receive event was reported for this socket and not yet confirmed as a real one.
    pub const RECEIVED: u32 = 1 << 1;
    /// `closing_*` were taken from the process that closed.
    pub const CLOSED_BY_OWNER: u32 = 1 << 2;
    /// The connection was never accepted when it was aborted.
    pub const UNACCEPTED: u32 = 1 << 3;
    /// SO_LINGER with zero time was set when it was aborted.
    pub const LINGER0: u32 = 1 << 4;
    /// We aborted it (an active RST).
    pub const ABORTED: u32 = 1 << 5;
    /// The accept queue was full when its last handshake segment came.
    pub const OVERFLOWED: u32 = 1 << 6;
    /// The receive event was counted, but its detail was lost.
    pub const RECEIVED_LOST: u32 = 1 << 7;
    /// Our side only half-closed (SHUT_WR): it went on reading.
    pub const HALF_CLOSED: u32 = 1 << 8;
    /// Probes were unanswered, and nothing else under way, when it was aborted.
    pub const PROBING: u32 = 1 << 9;
    /// No program held it any more when it was aborted.
    pub const ORPHANED: u32 = 1 << 10;
}

/// `Memory::sampled_spoke`: whose payload was the last.
pub mod spoke {
    /// No sample, or both bear one time.
    pub const NOBODY: u16 = 0;
    /// Ours: a client was waiting, a server had answered.
    pub const WE: u16 = 1;
    /// The peer's.
    pub const PEER: u16 = 2;
}

/// `task_struct.flags`: the task is on its way out.
pub const PF_EXITING: u32 = 0x4;
/// `task_struct.flags`: a kernel thread.
pub const PF_KTHREAD: u32 = 0x0020_0000;

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
    /// A TCP segment's header and the IP fields that tell its sender.
    pub struct Segment {
        /// Sequence number.
        pub seq: u32,
        /// Acknowledgement number (counts with ACK only).
        pub ack: u32,
        /// Payload bytes.
        pub payload: u32,
        /// Value of the timestamp option, where `present` says that there is one.
        pub tsval: u32,
        /// Padding.
        pub reserved2: u32,
        /// Advertised window, unscaled.
        pub window: u16,
        /// IPv4 identification.
        pub ip_id: u16,
        /// TTL or hop limit.
        pub ttl: u8,
        /// [`tcp_flag`] bits.
        pub flags: u8,
        /// [`present`] bits.
        pub present: u8,
        /// Padding.
        pub reserved: u8,
    }
}

wire! {
    /// A task.
    pub struct Task {
        /// Start, monotonic nanoseconds.
        pub start_ns: u64,
        /// Id of its cgroup (v2).
        pub cgroup: u64,
        /// Process id in the initial namespace; 0: not known.
        pub tgid: u32,
        /// `task_struct.flags`.
        pub flags: u32,
        /// `task_struct.exit_code`: signal in the low seven bits, exit status above.
        pub exit_code: u32,
        /// Padding.
        pub reserved: u32,
        /// Command name, NUL-padded.
        pub comm: [u8; 16],
    }
}

wire! {
    /// What is kept of a socket, and for a while after it is gone.
    pub struct Memory {
        /// Who connected, listened or closed it.
        pub owner: Task,
        /// When it became ESTABLISHED.
        pub established_ns: u64,
        /// When the peer's FIN came.
        pub fin_ns: u64,
        /// When our side closed or aborted.
        pub closing_ns: u64,
        /// When it became CLOSE.
        pub closed_ns: u64,
        /// When the first RST was sent or accepted.
        pub reset_ns: u64,
        /// When `rst` was seen.
        pub rst_ns: u64,
        /// When an RST (or another segment) was last answered with a challenge ACK instead of being accepted.
        pub challenge_ns: u64,
        /// Payload bytes sent when it closed.
        pub bytes_sent: u64,
        /// Payload bytes received when it closed.
        pub bytes_received: u64,
        /// Jiffies since we had sent payload when the peer's FIN came.
        pub fin_sent: u32,
        /// Jiffies since the peer had sent payload when its FIN came.
        pub fin_received: u32,
        /// Received bytes not read when the peer's FIN came.
        pub fin_unread: u32,
        /// Jiffies from the last payload that the last sample knew of until the peer's FIN; 0: no sample.
        pub fin_quiet: u32,
        /// Segments with payload that came between the two, modulo 2^16.
        pub fin_said_segs: u16,
        /// `data_segs_out` (low half) when the peer's FIN came.
        pub fin_segs_out: u16,
        /// Jiffies since we had sent payload when our side closed.
        pub closing_sent: u32,
        /// Jiffies since the peer had sent payload when our side closed.
        pub closing_received: u32,
        /// Jiffies since the peer had acknowledged anything when our side closed; as `closing_received` where we send keepalives.
        pub closing_ack: u32,
        /// Bytes written and not acknowledged when our side closed.
        pub closing_outstanding: u32,
        /// Next byte expected, when it was last looked at.
        pub rcv_nxt: u32,
        /// Next byte to send, when it was last looked at.
        pub snd_nxt: u32,
        /// Received bytes not read when our side aborted.
        pub unread: u32,
        /// Kernel's reason of our abort.
        pub reset_reason: u32,
        /// How often that was.
        pub challenges: u32,
        /// Jiffies (low word) of the last payload, as of the last sample.
        pub active: u32,
        /// Jiffies (low word) of the last sample; 0: none yet.
        pub sampled: u32,
        /// `bytes_sent` (low word) as of the last sample.
        pub sampled_sent: u32,
        /// `data_segs_out` (low half) as of the last sample.
        pub sampled_segs: u16,
        /// `data_segs_in` (low half) as of the last sample.
        pub sampled_segs_in: u16,
        /// Padding.
        pub reserved: u16,
        /// [`spoke`] as of the last sample. Not among the marks: those are changed elsewhere at the same time.
        pub sampled_spoke: u16,
        /// Jiffies from the last payload that the last sample knew of until our side closed; 0: no sample.
        pub closing_quiet: u32,
        /// Payload bytes that we sent after that sample; at most `u16::MAX`.
        pub closing_said: u16,
        /// Segments that carried them, modulo 2^16.
        pub closing_segs: u16,
        /// [`mark`] bits.
        pub marks: u32,
        /// The last RST header that reached this socket.
        pub rst: Segment,
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

wire! {
    /// What `tcp_sock` says at the event. Ages in jiffies; `u32::MAX`: this kernel has no such field.
    pub struct TcpFacts {
        /// Payload bytes sent, retransmissions included.
        pub bytes_sent: u64,
        /// Payload bytes received.
        pub bytes_received: u64,
        /// Nanoseconds since the oldest unacknowledged segment was (re)sent; 0: nothing outstanding.
        pub rtx_age_ns: u64,
        /// Nanoseconds since the first segment left of those that are outstanding, retransmissions or not: since the
        /// operation began. 0: this kernel does not tell.
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

wire! {
    /// One reset.
    pub struct ResetRecord {
        /// [`MAGIC`].
        pub magic: u32,
        /// Kernel's reason; `u32::MAX`: none given.
        pub reason: u32,
        /// When.
        pub time_ns: u64,
        /// Identity of the socket, good for comparing only; 0: none.
        pub sock: u64,
        /// Id of the socket's cgroup (v2); 0: not known.
        pub cgroup: u64,
        /// When the conntrack table of this namespace, or the host's, was last full; 0: never, or not seen.
        pub conntrack_full_ns: u64,
        /// Inode of the network namespace.
        pub netns: u32,
        /// [`flags`].
        pub flags: u32,
        /// [`kind`].
        pub kind: u8,
        /// [`sk_class`].
        pub sk_class: u8,
        /// `sk_state` at the hook.
        pub state: u8,
        /// 1: the socket is an MPTCP subflow.
        pub subflow: u8,
        /// The connection from this end.
        pub flow: Flow,
        /// Sent: the segment that provoked it. Received: the RST.
        pub segment: Segment,
        /// The socket's numbers; written where [`flags::TCP`] is set.
        pub tcp: TcpFacts,
        /// What was remembered; written where [`flags::MEMORY`] or [`flags::TOMBSTONE`] is set.
        pub memory: Memory,
        /// The task that ran; written for active resets only.
        pub task: Task,
    }
}

/// [`sk_class`] of a socket that is not NULL.
#[inline(always)]
pub const fn sock_class_of_state(socket_state: u8) -> u8 {
    match socket_state {
        state::LISTEN => sk_class::LISTEN,
        state::TIME_WAIT => sk_class::TIME_WAIT,
        _ => sk_class::FULL,
    }
}
