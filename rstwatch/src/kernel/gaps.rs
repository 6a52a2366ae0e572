//! Idle gaps by destination: those that connections survived, and those after which the peer closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{HashMap, MapData};
use rstwatch_common::flow::NetnsFlow;
use rstwatch_common::gap::Gaps;

use super::clock;
use super::load::LoadedObject;
use rstwatch_verdict::addresses::ends;

/// Reads the idle gaps that the kernel side measured, by destination, from any thread.
pub type GapsHandle = Arc<dyn Fn() -> Vec<PeerGaps> + Send + Sync>;

/// The map `GAPS`.
pub struct GapMap {
    /// Keys have no local end.
    map: HashMap<MapData, PlainKey, PlainGaps>,
    /// Length of a jiffy.
    jiffy: Duration,
}

/// Idle gaps of the connections to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerGaps {
    /// The server's address and port.
    pub peer: SocketAddr,
    /// Inode of the network namespace of the connections.
    pub netns: u32,
    /// The longest gap that a connection survived, rounded down; `None` if none did.
    pub survived: Option<Duration>,
    /// How many gaps were survived.
    pub survived_count: u64,
    /// The shortest idle time after which the peer closed with no request outstanding; `None` if it never did.
    pub closed: Option<Duration>,
    /// How often it closed in that way.
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

// SAFETY: integers without padding, valid for any bit pattern; the `wire!` macro makes zerocopy prove it.
unsafe impl aya::Pod for PlainKey {}
// SAFETY: as above.
unsafe impl aya::Pod for PlainGaps {}

impl GapMap {
    /// Takes the map out of the object.
    pub(super) fn open(object: &mut LoadedObject) -> anyhow::Result<Self> {
        Ok(Self { map: object.take_map("GAPS")?, jiffy: clock::jiffy() })
    }

    /// The gaps of each destination. One that changes while it is read may be absent.
    pub fn read(&self) -> Vec<PeerGaps> {
        self.map.iter().filter_map(Result::ok).map(|(key, gaps)| self.peer(&key.0, &gaps.0)).collect()
    }

    fn peer(&self, key: &NetnsFlow, gaps: &Gaps) -> PeerGaps {
        let length = |jiffies: u32| (jiffies != 0).then(|| self.jiffy.saturating_mul(jiffies));
        PeerGaps {
            peer: ends(&key.flow).1,
            netns: key.netns,
            survived: length(gaps.survived_longest),
            survived_count: gaps.survived,
            closed: length(gaps.closed_shortest),
            closed_count: gaps.closed,
        }
    }
}
