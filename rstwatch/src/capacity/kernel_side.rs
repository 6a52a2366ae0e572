//! What the watcher of queues and tables reads from the kernel side, and tells it.

use rstwatch_common::tasks::TaskNetns;

use super::seen::Seen;
use crate::kernel::listeners::Listeners;
use crate::kernel::tables::Tables;

/// The kernel side, or a test's replacement for it.
pub trait KernelSide {
    /// Every listener, and each that has stopped since the last scan and had drops; `None` if the kernel refuses.
    fn listeners(&mut self) -> Option<Vec<Seen>>;

    /// Tasks and their network namespaces; `None` if the kernel refuses.
    fn tasks(&mut self) -> Option<Vec<TaskNetns>>;

    /// How many listeners its map had no space for.
    fn unlisted(&self) -> u64;

    /// Resets that the stack of a network namespace has sent; `None` if the kernel refuses.
    fn sent(&self, netns: u32) -> Option<u64>;

    /// When a hook last saw a namespace's conntrack table full, in monotonic nanoseconds; 0: never.
    fn conntrack_full_ns(&self, netns: u32) -> u64;

    /// Forgets the counts of namespaces that no longer exist.
    fn forget_sent(&mut self, exists: impl Fn(u32) -> bool);

    /// Tells the programs that a namespace's conntrack table was full at that time. Their records carry it from now on.
    fn conntrack_was_full(&mut self, netns: u32, at_ns: u64);
}

impl KernelSide for Tables {
    fn listeners(&mut self) -> Option<Vec<Seen>> {
        let found = self.listeners.as_mut()?.scan();
        let found = found.inspect_err(|error| tracing::debug!("accept queues cannot be read: {error}")).ok()?;
        Some(found.into_iter().map(Seen::from).collect())
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
