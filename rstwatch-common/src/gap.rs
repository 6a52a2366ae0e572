//! Idle gaps of connections that this host opened, by destination: the values of the map `GAPS`.

wire! {
    /// Gaps of all connections to one destination. In jiffies.
    pub struct Gaps {
        /// The longest gap that a connection survived: it was used and answered afterwards.
        pub survived_longest: u32,
        /// The shortest gap after which the peer closed with no request open, unless a longer one was survived; 0: none.
        pub closed_shortest: u32,
        /// Number of survived gaps.
        pub survived: u64,
        /// Number of gaps that the peer's FIN ended.
        pub closed: u64,
        /// When the last gap of either kind ended, `CLOCK_MONOTONIC` nanoseconds.
        pub last_ns: u64,
    }
}
