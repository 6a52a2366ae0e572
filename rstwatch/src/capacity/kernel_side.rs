//! What the scanner of queues and tables reads from the kernel side, and reports to it.

use rstwatch_common::tasks::TaskNetns;

use super::scanned_listener::ScannedListener;
use crate::kernel::listeners::Listeners;
use crate::kernel::tables::Tables;

/// The kernel side, or a fake in tests.
pub trait KernelSide {
    /// Every listener, and each that has stopped since the last scan and had drops; `None` if the kernel refuses.
    fn listeners(&mut self) -> Option<Vec<ScannedListener>>;

    /// Tasks and their network namespaces; `None` if the kernel refuses.
    fn tasks(&mut self) -> Option<Vec<TaskNetns>>;

    /// Listeners that did not fit into its map.
    fn unlisted(&self) -> u64;

    /// Resets that the stack of a network namespace has sent; `None` if the kernel refuses.
    fn sent(&self, netns: u32) -> Option<u64>;

    /// When a hook last saw a namespace's conntrack table full, in monotonic nanoseconds; 0: never.
    fn conntrack_full_ns(&self, netns: u32) -> u64;

    /// Forgets the counts of namespaces that no longer exist.
    fn forget_sent(&mut self, exists: impl Fn(u32) -> bool);

    /// Reports to the programs when a namespace's conntrack table was last full. Their records carry that time from then on.
    fn conntrack_was_full(&mut self, netns: u32, at_ns: u64);
}

impl KernelSide for Tables {
    fn listeners(&mut self) -> Option<Vec<ScannedListener>> {
        let found = self.listeners.as_mut()?.scan();
        let found = found.inspect_err(|error| tracing::debug!("accept queues cannot be read: {error}")).ok()?;
        Some(found.into_iter().map(ScannedListener::from).collect())
    }

    fn tasks(&mut self) -> Option<Vec<TaskNetns>> {
        let found = self.tasks.as_ref()?.scan();
        found.inspect_err(|error| tracing::debug!("tasks cannot be read: {error}")).ok()
    }

    fn unlisted(&self) -> u64 {
        self.listeners.as_ref().map_or(0, Listeners::unlisted)
    }

    fn sent(&self, netns: u32) -> Option<u64> {
        Self::sent(self, netns)
    }

    fn conntrack_full_ns(&self, netns: u32) -> u64 {
        Self::conntrack_full_ns(self, netns)
    }

    fn forget_sent(&mut self, exists: impl Fn(u32) -> bool) {
        Self::forget_sent(self, exists);
    }

    fn conntrack_was_full(&mut self, netns: u32, at_ns: u64) {
        Self::conntrack_was_full(self, netns, at_ns);
    }
}
