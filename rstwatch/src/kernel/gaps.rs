//! Idle gaps that connections survived or were closed after, by destination, as the kernel side keeps them.

use std::net::SocketAddr;
use std::time::Duration;

use aya::maps::{HashMap, MapData};
use rstwatch_common::flow::NetnsFlow;
use rstwatch_common::gap::Gaps;

/// The map `GAPS`.
pub struct GapMap {
    /// Keys have no local end.
    pub map: HashMap<MapData, PlainKey, PlainGaps>,
    /// Length of a jiffy.
    pub jiffy: Duration,
}

/// What one destination's connections went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerGaps {
    /// The server's address and port.
    pub peer: SocketAddr,
    /// Inode of the network namespace of the connections.
    pub netns: u32,
    /// The longest gap that one survived, at least so long; `None` if none did.
    pub survived: Option<Duration>,
    /// How many gaps were survived.
    pub survived_count: u64,
    /// The shortest silence after which the peer closed with nothing open; `None` if it never did.
    pub closed: Option<Duration>,
    /// How often it did.
    pub closed_count: u64,
}

/// [`NetnsFlow`], for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PlainKey(NetnsFlow);

/// [`Gaps`], for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PlainGaps(Gaps);

// SAFETY: plain numbers without padding, valid in any bit pattern (the `wire!` macro derives zerocopy's proof of it).
unsafe impl aya::Pod for PlainKey {}
// SAFETY: as above.
unsafe impl aya::Pod for PlainGaps {}

impl GapMap {
    /// What is known of each destination. One that changes while it is read may be left out.
    pub fn read(&self) -> Vec<PeerGaps> {
        self.map.iter().filter_map(Result::ok).map(|(key, gaps)| self.of_peer(&key.0, &gaps.0)).collect()
    }

    fn of_peer(&self, key: &NetnsFlow, gaps: &Gaps) -> PeerGaps {
        let length = |jiffies: u32| (jiffies != 0).then(|| self.jiffy.saturating_mul(jiffies));
        PeerGaps {
            peer: rstwatch_verdict::assemble::ends(&key.flow).1,
            netns: key.netns,
            survived: length(gaps.survived_longest),
            survived_count: gaps.survived,
            closed: length(gaps.closed_shortest),
            closed_count: gaps.closed,
        }
    }
}
