//! Idle gaps of connections that this host opened, by destination: what the map `GAPS` holds.

wire! {
    /// Gaps of all connections to one destination. In jiffies.
    pub struct Gaps {
        /// The longest that a connection survived: it was used and answered afterwards.
        pub survived_longest: u32,
        /// The shortest after which the peer closed, with nothing open, and that no survived one refutes; 0: none.
        pub closed_shortest: u32,
        /// How many were survived.
        pub survived: u64,
        /// How many ended by the peer's FIN.
        pub closed: u64,
        /// When the last of either was seen, `CLOCK_MONOTONIC` nanoseconds.
        pub last_ns: u64,
    }
}
