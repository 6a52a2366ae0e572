//! What looks at queues and tables read from the kernel side, and tell it.

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuHashMap};
use rstwatch_common::tasks::TaskNetns;

use super::listeners::{Listeners, Seen};
use super::tasks::Tasks;

/// The maps and the iterator that belong to them.
pub struct Tables {
    /// Accept queues; `None` where the kernel refuses the iterator.
    pub listeners: Option<Listeners>,
    /// The map `SENT_BY_NETNS`.
    pub sent: PerCpuHashMap<MapData, u32, u64>,
    /// The map `CONNTRACK_FULL`.
    pub conntrack_full: HashMap<MapData, u32, u64>,
    /// The map `CONNTRACK_EVER_FULL`.
    pub conntrack_ever_full: Array<MapData, u32>,
    /// A hook fills `CONNTRACK_FULL`.
    pub evictions_seen: bool,
    /// Tasks and their namespaces; `None` where the kernel refuses the iterator.
    pub tasks: Option<Tasks>,
}

/// What a watcher of queues and tables asks the kernel side, and tells it.
pub trait KernelSide {
    /// Every listener, and each that has gone since the last look and had dropped something; `None` where the kernel does
    /// not say.
    fn listeners(&mut self) -> Option<Vec<Seen>>;

    /// Tasks and the network namespaces that they are in; `None` where the kernel does not say.
    fn tasks(&mut self) -> Option<Vec<TaskNetns>>;

    /// How many listeners it has no room for.
    fn unlisted(&self) -> u64;

    /// Resets that the stack of a network namespace sent, as far as it is watched; `None` where the kernel does not say.
    fn sent(&self, netns: u32) -> Option<u64>;

    /// When a hook last saw a namespace's conntrack table full, monotonic nanoseconds; 0: never.
    fn conntrack_full_ns(&self, netns: u32) -> u64;

    /// Forgets the counts of namespaces that are not there any more.
    fn forget_sent(&mut self, there: impl Fn(u32) -> bool);

    /// Tells it that a namespace's conntrack table was full at that time: resets bear it from now on.
    fn conntrack_was_full(&mut self, netns: u32, at_ns: u64);
}

impl KernelSide for Tables {
    fn listeners(&mut self) -> Option<Vec<Seen>> {
        let looked = self.listeners.as_mut()?.look();
        looked.inspect_err(|error| tracing::debug!("accept queues cannot be looked at: {error}")).ok()
    }

    fn tasks(&mut self) -> Option<Vec<TaskNetns>> {
        let looked = self.tasks.as_ref()?.look();
        looked.inspect_err(|error| tracing::debug!("tasks cannot be looked at: {error}")).ok()
    }

    fn unlisted(&self) -> u64 {
        self.listeners.as_ref().map_or(0, Listeners::unlisted)
    }

    fn sent(&self, netns: u32) -> Option<u64> {
        match self.sent.get(&netns, 0) {
            Ok(parts) => Some(parts.iter().sum()),
            Err(MapError::KeyNotFound) => Some(0),
            Err(_) => None,
        }
    }

    fn conntrack_full_ns(&self, netns: u32) -> u64 {
        // What we told ourselves is no news.
        if self.evictions_seen { self.conntrack_full.get(&netns, 0).unwrap_or(0) } else { 0 }
    }

    fn forget_sent(&mut self, there: impl Fn(u32) -> bool) {
        let gone: Vec<_> = self.sent.keys().filter_map(Result::ok).filter(|netns| !there(*netns)).collect();
        for netns in gone {
            // An error means that it is not there, and then nothing is left to remove.
            _ = self.sent.remove(&netns);
        }
    }

    fn conntrack_was_full(&mut self, netns: u32, at_ns: u64) {
        if !self.evictions_seen {
            // An error leaves the evidence out, as without this.
            _ = self.conntrack_full.insert(netns, at_ns, 0);
            _ = self.conntrack_ever_full.set(0, 1, 0);
        }
    }
}
