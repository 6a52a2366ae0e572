//! Which listener overflowed how often, in one network namespace.
//!
//! The kernel counts overflows for the namespace (`ListenOverflows`) and drops for each listener (`sk_drops`), and a drop is
//! an overflow or something else (`ListenDrops` counts both). While the namespace has none of the something else, each
//! listener's drops are its overflows, exactly. Otherwise they are told apart if only one listener can be meant; what
//! cannot be told apart is counted without a listener. So the sum is always the namespace's count.

/// The namespace's counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// `ListenOverflows`.
    pub(super) overflows: u64,
    /// `ListenDrops`, those included.
    pub(super) drops: u64,
}

impl Counted {
    /// Drops that were no overflows. The two counters are not read at one moment.
    fn others(self) -> u64 {
        self.drops.saturating_sub(self.overflows)
    }
}

/// What was dropped at a listener and is not yet told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// How many.
    pub(super) drops: u64,
    /// Its queue was seen full meanwhile.
    pub(super) full: bool,
}

/// The books of one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    books: Option<Books>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Books {
    /// Overflows that have been given to somebody, or were there before us.
    settled: u64,
    /// Drops of other kinds that are known of.
    others: u64,
    /// The counters at the last look.
    last: Counted,
    /// The last look could not tell the drops apart: perhaps it came between two counters.
    doubtful: bool,
}

/// What a look settles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Of each listener that was pending, in order: how many were overflows. `None`: it stays pending.
    pub(super) overflows: Option<Vec<u64>>,
    /// Overflows of listeners that nobody knows.
    pub(super) unattributed: u64,
}

impl Ledger {
    /// Takes the counters and what was dropped at each listener before they were read.
    pub(super) fn settle(&mut self, now: Counted, pending: &[Pending]) -> Settled {
        let dropped: u64 = pending.iter().map(|it| it.drops).sum();
        let books = self.books.get_or_insert_with(|| Books::open(now, dropped));
        if now.overflows < books.last.overflows {
            // Another namespace has got the inode.
            *books = Books::open(now, dropped);
        }
        let settled = books.settle(now, pending, dropped);
        books.last = now;
        settled
    }
}

/// Where the namespace's counters cannot be read: drops are overflows where the queue was seen full.
pub(super) fn unread(pending: &[Pending]) -> Vec<u64> {
    pending.iter().map(|it| if it.full { it.drops } else { 0 }).collect()
}

impl Books {
    /// At first sight. What was dropped since a listener is known can only be new.
    fn open(now: Counted, dropped: u64) -> Self {
        let ours = if now.others() == 0 { dropped.min(now.overflows) } else { 0 };
        Self { settled: now.overflows - ours, others: now.others(), last: now, doubtful: false }
    }

    fn settle(&mut self, now: Counted, pending: &[Pending], dropped: u64) -> Settled {
        let owed = now.overflows.saturating_sub(self.settled);
        let overflows = if now.others() <= self.others && dropped <= owed {
            self.doubtful = false;
            pending.iter().map(|it| it.drops).collect()
        } else if !self.doubtful {
            self.doubtful = true;
            return Settled::default();
        } else {
            self.doubtful = false;
            self.others = now.others();
            tell_apart(pending, owed)
        };
        self.settled += overflows.iter().sum::<u64>();
        // What had been counted by the last look has been seen at its listener by this one, if at any.
        let unattributed = self.last.overflows.saturating_sub(self.settled);
        self.settled += unattributed;
        Settled { overflows: Some(overflows), unattributed }
    }
}

/// Gives the overflows to the only listener that dropped anything, or to the only one of those whose queue was full.
fn tell_apart(pending: &[Pending], owed: u64) -> Vec<u64> {
    let only = |fits: fn(&Pending) -> bool| {
        let mut fitting = pending.iter().enumerate().filter(|(_, it)| it.drops > 0 && fits(it));
        fitting.next().filter(|_| fitting.next().is_none()).map(|(at, _)| at)
    };
    let whose = only(|_| true).or_else(|| only(|it| it.full));
    pending.iter().enumerate().map(|(at, it)| if Some(at) == whose { it.drops.min(owed) } else { 0 }).collect()
}

#[cfg(test)]
mod tests;
