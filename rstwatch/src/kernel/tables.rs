//! Queues and tables that the kernel side fills, for periodic scans.

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuHashMap};

use super::listeners::Listeners;
use super::load::LoadedObject;
use super::tasks::Tasks;

/// Iterators and maps.
pub struct Tables {
    /// Accept queues; `None` if the kernel refuses the iterator.
    pub listeners: Option<Listeners>,
    /// Tasks and their namespaces; `None` if the kernel refuses the iterator.
    pub tasks: Option<Tasks>,
    /// The map `SENT_BY_NETNS`.
    sent: PerCpuHashMap<MapData, u32, u64>,
    /// The map `CONNTRACK_FULL`.
    conntrack_full: HashMap<MapData, u32, u64>,
    /// The map `CONNTRACK_EVER_FULL`.
    conntrack_ever_full: Array<MapData, u32>,
    /// A hook fills `CONNTRACK_FULL`.
    evictions_hooked: bool,
}

impl Tables {
    /// Takes the maps out of the object. `evictions_hooked`: a hook fills `CONNTRACK_FULL`.
    pub(super) fn open(
        object: &mut LoadedObject,
        listeners: Option<Listeners>,
        tasks: Option<Tasks>,
        evictions_hooked: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            listeners,
            tasks,
            sent: object.take_map("SENT_BY_NETNS")?,
            conntrack_full: object.take_map("CONNTRACK_FULL")?,
            conntrack_ever_full: object.take_map("CONNTRACK_EVER_FULL")?,
            evictions_hooked,
        })
    }

    /// Resets that the stack of a network namespace has sent; `None` if the kernel refuses.
    pub fn sent(&self, netns: u32) -> Option<u64> {
        match self.sent.get(&netns, 0) {
            Ok(parts) => Some(parts.iter().sum()),
            Err(MapError::KeyNotFound) => Some(0),
            Err(_) => None,
        }
    }

    /// Forgets the counts of namespaces that no longer exist.
    pub fn forget_sent(&mut self, exists: impl Fn(u32) -> bool) {
        let gone: Vec<_> = self.sent.keys().filter_map(Result::ok).filter(|netns| !exists(*netns)).collect();
        for netns in gone {
            // An error means that the key is not there, so nothing is left to remove.
            _ = self.sent.remove(&netns);
        }
    }

    /// When a hook last saw a namespace's conntrack table full, in monotonic nanoseconds; 0: never.
    pub fn conntrack_full_ns(&self, netns: u32) -> u64 {
        // Without the hook the map holds only what `conntrack_was_full` wrote.
        if self.evictions_hooked { self.conntrack_full.get(&netns, 0).unwrap_or(0) } else { 0 }
    }

    /// Tells the programs that a namespace's conntrack table was full at that time. Their records carry it from now on.
    pub fn conntrack_was_full(&mut self, netns: u32, at_ns: u64) {
        if !self.evictions_hooked {
            // After an error the records lack this evidence, as they would without the call.
            _ = self.conntrack_full.insert(netns, at_ns, 0);
            _ = self.conntrack_ever_full.set(0, 1, 0);
        }
    }
}
