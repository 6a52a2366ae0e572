//! Attributes the accept queue overflows of one network namespace to its listeners.
//!
//! The kernel counts overflows for the namespace (`ListenOverflows`), never for a listener. If the functions that find a
//! full queue can be hooked, overflows are counted there for each listener, just before the kernel counts them. Otherwise at
//! most those at a handshake's last ACK are seen, and the rest is inferred from the listener's drops (`sk_drops`), which also
//! count other events: a duplicate SYN, a deferred accept, a socket filter. In both cases the listeners together get no more
//! than the namespace's count, and overflows that fit no listener remain unattributed. So the sum always equals that count.

/// New observations at a listener that are not attributed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// Overflows that a hook saw.
    pub(super) seen: u64,
    /// Drops that may be further overflows.
    pub(super) drops: u64,
    /// The queue was found full in the meantime.
    pub(super) full: bool,
}

/// Attribution state of one namespace, from its first scan on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attribution {
    baseline: Option<Baseline>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Baseline {
    /// Overflows that are accounted for: attributed, reported as unattributed, or older than the agent.
    accounted: u64,
    /// The namespace's count at the last scan; `None` at the first one.
    last: Option<u64>,
    /// The last scan was ambiguous: overflows may have happened between its two readings.
    ambiguous: bool,
    /// How many of the overflows that are not accounted for may be older than the agent.
    maybe_older: u64,
}

/// A namespace's `ListenOverflows` around a scan of its listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverflowCount {
    /// Before the scan; used at the first one only.
    pub(super) before: u64,
    /// After the scan.
    pub(super) now: u64,
}

/// What one scan attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributed {
    /// Overflows of each pending listener, in order. `None`: undecided, they stay pending.
    pub(super) overflows: Option<Vec<u64>>,
    /// Overflows without a known listener.
    pub(super) unattributed: u64,
}

impl Attribution {
    /// Attributes overflows, given the namespace's count and what was pending at each listener before that was read.
    pub(super) fn attribute(&mut self, count: OverflowCount, pending: &[Pending]) -> Attributed {
        // A lower count means that the inode belongs to another namespace now.
        let known = self.baseline.filter(|baseline| baseline.last <= Some(count.now));
        let mut baseline = known.unwrap_or_else(|| Baseline::at_first_scan(count, pending));
        let attributed = baseline.attribute(count.now, pending);
        baseline.last = Some(count.now);
        self.baseline = Some(baseline);
        attributed
    }
}

/// Attribution without the namespace's count: overflows that were seen, and drops while the queue was found full.
pub(super) fn without_count(pending: &[Pending]) -> Vec<u64> {
    pending.iter().map(|it| it.seen + if it.full { it.drops } else { 0 }).collect()
}

impl Baseline {
    /// Whatever a known listener observed is new. How much of it the count before the scan already contained is unknown.
    /// Therefore the number of overflows older than the agent is uncertain, too: by as many as happened during the scan.
    fn at_first_scan(count: OverflowCount, pending: &[Pending]) -> Self {
        let sums = Sums::of(pending);
        if sums.all() == count.now {
            return Self { accounted: 0, last: None, ambiguous: false, maybe_older: 0 };
        }
        let (ours, before) = (sums.seen + sums.full, count.before.min(count.now));
        let accounted = before.saturating_sub(ours);
        let most = before.min(count.now.saturating_sub(ours));
        Self { accounted, last: None, ambiguous: false, maybe_older: most.saturating_sub(accounted) }
    }

    fn attribute(&mut self, overflows: u64, pending: &[Pending]) -> Attributed {
        let open = Open { all: overflows.saturating_sub(self.accounted), maybe_older: self.maybe_older };
        let shares = unambiguous(pending, open).or_else(|| self.ambiguous.then(|| fallback(pending, open)));
        self.ambiguous = shares.is_none();
        let Some(shares) = shares else { return Attributed::default() };
        self.accounted += shares.iter().sum::<u64>();
        // Attributed overflows are not older than the agent.
        self.maybe_older = self.maybe_older.min(overflows.saturating_sub(self.accounted));
        let unattributed = self.last.map_or(0, |last| self.take_unattributed(last));
        Attributed { overflows: Some(shares), unattributed }
    }

    /// Overflows counted by the last scan whose listener should have been seen by this one, but was not.
    fn take_unattributed(&mut self, last: u64) -> u64 {
        let unattributed = last.saturating_sub(self.accounted);
        self.accounted += unattributed;
        let older = unattributed.min(self.maybe_older);
        self.maybe_older -= older;
        unattributed - older
    }
}

/// Overflows that are not accounted for.
#[derive(Clone, Copy)]
struct Open {
    all: u64,
    /// Those of them that may be older than the agent.
    maybe_older: u64,
}

/// Pending observations of all listeners.
struct Sums {
    seen: u64,
    /// Drops at queues found full.
    full: u64,
    /// Drops at other queues.
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

/// The overflows of each listener, if only one attribution is possible: those seen, all drops at full queues, and drops at
/// other queues only if they complete the sum. The namespace's count is read last: if it leaves nothing over, the drops had
/// another reason. A full queue is evidence enough to attribute even overflows that may be older than the agent.
fn unambiguous(pending: &[Pending], open: Open) -> Option<Vec<u64>> {
    let sums = Sums::of(pending);
    let left = open.all.checked_sub(sums.seen)?;
    if left == 0 {
        return Some(pending.iter().map(|it| it.seen).collect());
    }
    let left = left.checked_sub(sums.full)?;
    match sums.others {
        others if others == left && open.maybe_older == 0 => {
            Some(pending.iter().map(|it| it.seen + it.drops).collect())
        }
        others if others == 0 || left <= open.maybe_older => Some(without_count(pending)),
        _ => None,
    }
}

/// Fallback attribution: overflows that were seen first, then drops at full queues, less what may be older than the agent, and
/// never more than the namespace counted. If several full queues dropped more than that, their drops stay unattributed.
fn fallback(pending: &[Pending], open: Open) -> Vec<u64> {
    let sums = Sums::of(pending);
    let take = |count: u64, left: &mut u64| {
        let taken = count.min(*left);
        *left -= taken;
        taken
    };
    let mut left = open.all;
    let mut shares: Vec<_> = pending.iter().map(|it| take(it.seen, &mut left)).collect();
    left = left.saturating_sub(open.maybe_older);
    let several = pending.iter().filter(|it| it.full && it.drops > 0).count() > 1;
    if !(several && sums.full > left) {
        let full = shares.iter_mut().zip(pending).filter(|(_, it)| it.full);
        full.for_each(|(share, it)| *share += take(it.drops, &mut left));
    }
    shares
}

#[cfg(test)]
mod tests;
