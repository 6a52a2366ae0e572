//! A TCP segment's header.

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

wire! {
    /// A TCP segment's header and the IP fields that identify its sender.
    pub struct Segment {
        /// Sequence number.
        pub seq: u32,
        /// Acknowledgement number (counts with ACK only).
        pub ack: u32,
        /// Payload bytes.
        pub payload: u32,
        /// Value of the timestamp option, if `present` has [`present::TIMESTAMPS`].
        pub tsval: u32,
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
