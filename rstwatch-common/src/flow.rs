//! A connection's addresses and ports, seen from one end.

wire! {
    /// The 4-tuple from the local end. An IPv4 address takes the first four bytes; a v4-mapped socket is IPv4.
    #[derive(PartialEq, Eq, Hash)]
    pub struct Flow {
        /// Local address in network order.
        pub local: [u8; 16],
        /// Remote address in network order.
        pub remote: [u8; 16],
        /// Local port in host order.
        pub local_port: u16,
        /// Remote port in host order.
        pub remote_port: u16,
        /// [`IPV4`] or [`IPV6`]; 0 while unknown.
        pub family: u32,
    }
}

/// `Flow::family` of IPv4.
pub const IPV4: u32 = 4;
/// `Flow::family` of IPv6.
pub const IPV6: u32 = 6;

impl Flow {
    /// No addresses.
    pub const EMPTY: Self = Self { local: [0; 16], remote: [0; 16], local_port: 0, remote_port: 0, family: 0 };

    /// The same connection seen from the other end.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            local_port: self.remote_port,
            remote_port: self.local_port,
            family: self.family,
        }
    }
}

wire! {
    /// A flow, or one end of it, within its network namespace.
    #[derive(PartialEq, Eq, Hash)]
    pub struct NetnsFlow {
        /// The flow from the end that lives in `netns`.
        pub flow: Flow,
        /// Inode of the network namespace.
        pub netns: u32,
    }
}
