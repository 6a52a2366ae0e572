//! Which listener overflowed how often, in one network namespace.
//!
//! The kernel counts overflows for the namespace (`ListenOverflows`), never for a listener. Where the functions that meet a
//! full queue can be hooked, each listener's are counted there, a moment before the kernel decides. Elsewhere only those at a
//! handshake's last ACK may be seen, and the others are told from its drops (`sk_drops`), which other things raise as well: a
//! SYN that came twice, a deferred accept, a socket filter. Either way listeners get no more than the namespace has, and
//! what none can be shown to have had is counted without a listener. So the sum is always the namespace's count.

/// What may have been overflows of a listener, and is not yet told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// Those that were seen.
    pub(super) seen: u64,
    /// Drops that may have been more.
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
    /// The namespace's count at the last look; `None`: this is the first.
    last: Option<u64>,
    /// The last look could not tell: overflows may have come between its two readings.
    doubtful: bool,
    /// So many of those that nobody has had so far may have been there before us, too.
    older: u64,
}

/// A namespace's `ListenOverflows` at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Before the look at its listeners; only the first look asks.
    pub(super) before: u64,
    /// After it.
    pub(super) now: u64,
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
    /// Takes the namespace's count of overflows, and what was pending at each listener before that was read.
    pub(super) fn settle(&mut self, count: Count, pending: &[Pending]) -> Settled {
        // Where the count has fallen another namespace has got the inode.
        let known = self.books.filter(|books| books.last <= Some(count.now));
        let mut books = known.unwrap_or_else(|| Books::open(count, pending));
        let settled = books.settle(count.now, pending);
        books.last = Some(count.now);
        self.books = Some(books);
        settled
    }
}

/// Where the namespace's count cannot be read: what was seen, and what was dropped while the queue was seen full.
pub(super) fn unread(pending: &[Pending]) -> Vec<u64> {
    pending.iter().map(|it| it.seen + if it.full { it.drops } else { 0 }).collect()
}

impl Books {
    /// At first sight. What a listener has had since it is known can only be new. How much of that was in the count before the
    /// look at the listeners is not known, and so, by as much as came during the look, neither is what was there before us.
    fn open(count: Count, pending: &[Pending]) -> Self {
        let sums = Sums::of(pending);
        if sums.all() == count.now {
            return Self { settled: 0, last: None, doubtful: false, older: 0 };
        }
        let (ours, before) = (sums.seen + sums.full, count.before.min(count.now));
        let settled = before.saturating_sub(ours);
        let most = before.min(count.now.saturating_sub(ours));
        Self { settled, last: None, doubtful: false, older: most.saturating_sub(settled) }
    }

    fn settle(&mut self, overflows: u64, pending: &[Pending]) -> Settled {
        let owed = Owed { all: overflows.saturating_sub(self.settled), older: self.older };
        let told = tell(pending, owed).or_else(|| self.doubtful.then(|| share(pending, owed)));
        self.doubtful = told.is_none();
        let Some(told) = told else { return Settled::default() };
        self.settled += told.iter().sum::<u64>();
        // What somebody had was not there before us.
        self.older = self.older.min(overflows.saturating_sub(self.settled));
        let unattributed = self.last.map_or(0, |last| self.nobodys(last));
        Settled { overflows: Some(told), unattributed }
    }

    /// What had been counted by the last look has been seen at its listener by this one, if at any.
    fn nobodys(&mut self, last: u64) -> u64 {
        let nobodys = last.saturating_sub(self.settled);
        self.settled += nobodys;
        let older = nobodys.min(self.older);
        self.older -= older;
        nobodys - older
    }
}

/// Overflows that are not settled.
#[derive(Clone, Copy)]
struct Owed {
    all: u64,
    /// As [`Books::older`], of all.
    older: u64,
}

/// What is pending, over all listeners.
struct Sums {
    seen: u64,
    /// Drops of those whose queue was seen full.
    full: u64,
    /// Drops of the others.
    others: u64,
}

impl Sums {
    fn of(pending: &[Pending]) -> Self {
        let drops = |full: bool| pending.iter().filter(|it| it.full == full).map(|it| it.drops).sum();
        Self { seen: pending.iter().map(|it| it.seen).sum(), full: drops(true), others: drops(false) }
    }

    fn all(&self) -> u64 {
        self.seen + self.full + self.others
    }
}

/// The overflows of each, if that is plain: what was seen, all drops at full queues, and those of others only where they
/// make up the sum. The namespace's count was read later: when nothing is left of it, drops were of another kind. A queue seen
/// full is enough to give it even what may be older.
fn tell(pending: &[Pending], owed: Owed) -> Option<Vec<u64>> {
    let sums = Sums::of(pending);
    let left = owed.all.checked_sub(sums.seen)?;
    if left == 0 {
        return Some(pending.iter().map(|it| it.seen).collect());
    }
    let left = left.checked_sub(sums.full)?;
    match sums.others {
        others if others == left && owed.older == 0 => Some(pending.iter().map(|it| it.seen + it.drops).collect()),
        others if others == 0 || left <= owed.older => Some(unread(pending)),
        _ => None,
    }
}

/// What is left to tell by: who was seen comes first, then full queues, which now get nothing that may be older, and nobody
/// gets more than there is. Of several full ones that would, who had them is not known.
fn share(pending: &[Pending], owed: Owed) -> Vec<u64> {
    let sums = Sums::of(pending);
    let take = |count: u64, left: &mut u64| {
        let taken = count.min(*left);
        *left -= taken;
        taken
    };
    let mut left = owed.all;
    let mut shares: Vec<_> = pending.iter().map(|it| take(it.seen, &mut left)).collect();
    left = left.saturating_sub(owed.older);
    let several = pending.iter().filter(|it| it.full && it.drops > 0).count() > 1;
    if !(several && sums.full > left) {
        let full = shares.iter_mut().zip(pending).filter(|(_, it)| it.full);
        full.for_each(|(share, it)| *share += take(it.drops, &mut left));
    }
    shares
}

#[cfg(test)]
mod tests;
