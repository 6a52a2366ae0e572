//! A bounded queue of recent entries, indexed by flow and by number.
//!
//! Entries lie in slots, and three lists run through the slots: all entries, those of a flow, those of a number. Adding
//! and taking an entry changes a few links and allocates nothing once the queue has had its full length.
//!
//! Remote hosts choose flows and numbers, so the hashes are seeded at random. With `std`'s SipHash, hashing takes a sixth of
//! the daemon's time for an event.

use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::num::NonZeroU32;

use foldhash::HashMap;
use rstwatch_common::flow::Flow;

/// Most entries of one number that are looked at: a number that more entries share identifies none of them.
const SAME_NUMBER: usize = 16;

/// Entries in insertion order, each with a flow and perhaps a number. Beyond the bound the oldest are evicted.
pub struct Recent<T> {
    bound: usize,
    slots: Vec<Slot<T>>,
    /// Slots without an entry.
    free: Vec<usize>,
    all: List,
    by_flow: HashMap<Flow, List>,
    by_number: HashMap<NonZeroU32, List>,
}

struct Slot<T> {
    flow: Flow,
    number: Option<NonZeroU32>,
    /// `None` while the slot is free.
    entry: Option<T>,
    /// By [`ALL`], [`OF_FLOW`] and [`OF_NUMBER`].
    links: [Links; 3],
}

/// Indexes of [`Slot::links`].
const ALL: usize = 0;
const OF_FLOW: usize = 1;
const OF_NUMBER: usize = 2;

/// The index of a slot, or none. In four bytes, so that the lists of a flood stay in the caches; no bound comes near 2^32.
#[derive(Clone, Copy, Default)]
struct Link(Option<NonZeroU32>);

impl Link {
    fn to(at: usize) -> Self {
        Self(u32::try_from(at + 1).ok().and_then(NonZeroU32::new))
    }

    fn at(self) -> Option<usize> {
        self.0.map(|number| number.get() as usize - 1)
    }
}

/// The neighbours of a slot in one list.
#[derive(Clone, Copy, Default)]
struct Links {
    older: Link,
    newer: Link,
}

/// The ends of one list.
#[derive(Clone, Copy, Default)]
struct List {
    oldest: Link,
    newest: Link,
}

impl<T> Recent<T> {
    /// Keeps at most `bound` entries, at least one.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            slots: Vec::new(),
            free: Vec::new(),
            all: List::default(),
            by_flow: HashMap::default(),
            by_number: HashMap::default(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.all.oldest.at().is_none()
    }

    /// Adds an entry without a number; returns the evicted one.
    pub fn push(&mut self, flow: Flow, entry: T) -> Option<T> {
        self.push_numbered(flow, None, entry)
    }

    /// Adds an entry; returns the evicted one.
    pub fn push_numbered(&mut self, flow: Flow, number: Option<NonZeroU32>, entry: T) -> Option<T> {
        let evicted = if self.len() >= self.bound { self.pop_front_if(|_| true) } else { None };
        let slot = Slot { flow, number, entry: Some(entry), links: [Links::default(); 3] };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        append(&mut self.slots, &mut self.all, ALL, at);
        append(&mut self.slots, self.by_flow.entry(flow).or_default(), OF_FLOW, at);
        if let Some(number) = number {
            append(&mut self.slots, self.by_number.entry(number).or_default(), OF_NUMBER, at);
        }
        evicted
    }

    /// Takes the oldest fitting entry of a flow.
    pub fn take(&mut self, flow: &Flow, fits: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.find(flow, fits)?;
        self.remove(at)
    }

    /// Takes the oldest fitting entry with a number, of the sixteen oldest; `fits` also gets the entry's flow.
    pub fn take_numbered(&mut self, number: NonZeroU32, fits: impl Fn(&Flow, &T) -> bool) -> Option<T> {
        let at = self.find_numbered(number, fits)?;
        self.remove(at)
    }

    /// Whether a flow has a fitting entry.
    pub fn contains(&self, flow: &Flow, fits: impl Fn(&T) -> bool) -> bool {
        self.find(flow, fits).is_some()
    }

    /// The oldest fitting entry of a flow.
    pub fn find_mut(&mut self, flow: &Flow, fits: impl Fn(&T) -> bool) -> Option<&mut T> {
        let at = self.find(flow, fits)?;
        self.slots[at].entry.as_mut()
    }

    /// The entry that [`take_numbered`](Self::take_numbered) would take.
    pub fn find_numbered_mut(&mut self, number: NonZeroU32, fits: impl Fn(&Flow, &T) -> bool) -> Option<&mut T> {
        let at = self.find_numbered(number, fits)?;
        self.slots[at].entry.as_mut()
    }

    /// The newest entry of a flow.
    pub fn newest_mut(&mut self, flow: &Flow) -> Option<&mut T> {
        let newest = self.by_flow.get(flow)?.newest.at()?;
        self.slots[newest].entry.as_mut()
    }

    /// The oldest entry.
    pub fn oldest(&self) -> Option<&T> {
        self.slots[self.all.oldest.at()?].entry.as_ref()
    }

    /// Takes the oldest entry, if it fits.
    pub fn pop_front_if(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        if fits(self.oldest()?) { self.remove(self.all.oldest.at()?) } else { None }
    }

    fn find(&self, flow: &Flow, fits: impl Fn(&T) -> bool) -> Option<usize> {
        let oldest = self.by_flow.get(flow)?.oldest;
        self.list(oldest, OF_FLOW).find(|at| self.slots[*at].entry.as_ref().is_some_and(&fits))
    }

    fn find_numbered(&self, number: NonZeroU32, fits: impl Fn(&Flow, &T) -> bool) -> Option<usize> {
        let oldest = self.by_number.get(&number)?.oldest;
        let fits = |slot: &Slot<T>| slot.entry.as_ref().is_some_and(|entry| fits(&slot.flow, entry));
        self.list(oldest, OF_NUMBER).take(SAME_NUMBER).find(|at| fits(&self.slots[*at]))
    }

    /// The slots of a list, from one to newer ones.
    fn list(&self, from: Link, list: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(from.at(), move |at| self.slots[*at].links[list].newer.at())
    }

    fn remove(&mut self, at: usize) -> Option<T> {
        let (flow, number) = (self.slots[at].flow, self.slots[at].number);
        unlink(&mut self.slots, &mut self.all, ALL, at);
        unlink_of(&mut self.slots, &mut self.by_flow, flow, OF_FLOW, at);
        if let Some(number) = number {
            unlink_of(&mut self.slots, &mut self.by_number, number, OF_NUMBER, at);
        }
        self.free.push(at);
        self.slots[at].entry.take()
    }
}

/// Adds a slot to a list, as its newest.
fn append<T>(slots: &mut [Slot<T>], ends: &mut List, list: usize, at: usize) {
    slots[at].links[list] = Links { older: ends.newest, newer: Link::default() };
    match ends.newest.at() {
        Some(newest) => slots[newest].links[list].newer = Link::to(at),
        None => ends.oldest = Link::to(at),
    }
    ends.newest = Link::to(at);
}

/// Removes a slot from a list.
fn unlink<T>(slots: &mut [Slot<T>], ends: &mut List, list: usize, at: usize) {
    let Links { older, newer } = slots[at].links[list];
    match older.at() {
        Some(before) => slots[before].links[list].newer = newer,
        None => ends.oldest = newer,
    }
    match newer.at() {
        Some(after) => slots[after].links[list].older = older,
        None => ends.newest = older,
    }
}

/// Removes a slot from the list of a key, and the key with its last slot.
fn unlink_of<K: Eq + Hash, T>(slots: &mut [Slot<T>], lists: &mut HashMap<K, List>, key: K, list: usize, at: usize) {
    if let Entry::Occupied(mut of_key) = lists.entry(key) {
        unlink(slots, of_key.get_mut(), list, at);
        if of_key.get().oldest.at().is_none() {
            of_key.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16) -> Flow {
        Flow { local_port: port, ..Flow::EMPTY }
    }

    #[test]
    fn is_ordered_and_indexed_by_flow() {
        let mut recent = Recent::new(3);
        for port in [1, 2, 2] {
            assert_eq!(recent.push(flow(port), port * 10 + 1), None);
        }
        assert_eq!(recent.push(flow(4), 41), Some(11));
        assert_eq!(recent.take(&flow(2), |entry| *entry == 21), Some(21));
        assert_eq!(recent.take(&flow(9), |_| true), None);
        assert_eq!(recent.pop_front_if(|entry| *entry == 41), None);
        assert_eq!(recent.pop_front_if(|entry| *entry == 21), Some(21));
        assert_eq!(recent.pop_front_if(|_| true), Some(41));
        assert!(recent.is_empty());
        assert_eq!(recent.pop_front_if(|_| true), None);
    }

    #[test]
    fn a_number_that_many_share_identifies_none() {
        let (mut recent, number) = (Recent::new(64), NonZeroU32::new(7));
        for port in 0..20 {
            recent.push_numbered(flow(port), number, port);
        }
        let mut take = |port| recent.take_numbered(number.expect("not 0"), |_, entry| *entry == port);
        assert_eq!((take(16), take(15), take(16)), (None, Some(15), Some(16)));
    }

    proptest::proptest! {
        /// Compares with a plain list. A number of zero is none.
        #[test]
        fn behaves_like_a_list(steps in proptest::collection::vec((0u8..6, 0u16..6, 0u32..4), 0..300)) {
            const BOUND: usize = 8;
            let mut recent = Recent::new(BOUND);
            let mut list: Vec<(u16, u32, usize)> = Vec::new();
            let oldest = |list: &mut Vec<(u16, u32, usize)>, fits: &dyn Fn(&(u16, u32, usize)) -> bool| {
                list.iter().position(fits).map(|at| list.remove(at).2)
            };
            for (index, (action, port, number)) in steps.into_iter().enumerate() {
                match action {
                    0..=2 => {
                        let evicted = if list.len() >= BOUND { oldest(&mut list, &|_| true) } else { None };
                        list.push((port, number, index));
                        assert_eq!(recent.push_numbered(flow(port), NonZeroU32::new(number), index), evicted);
                    }
                    3 => {
                        let expected = oldest(&mut list, &|(p, _, index)| *p == port && index % 3 > 0);
                        assert_eq!(recent.take(&flow(port), |index| index % 3 > 0), expected);
                    }
                    4 => {
                        let Some(wanted) = NonZeroU32::new(number) else { continue };
                        let expected = oldest(&mut list, &|(p, n, _)| *n == number && *p != port);
                        assert_eq!(recent.take_numbered(wanted, |f, _| *f != flow(port)), expected);
                    }
                    _ => assert_eq!(recent.pop_front_if(|_| true), oldest(&mut list, &|_| true)),
                }
                assert_eq!(recent.len(), list.len());
                assert_eq!(recent.is_empty(), list.is_empty());
                assert_eq!(recent.oldest().copied(), list.first().map(|(.., index)| *index));
                let newest = list.iter().rev().find(|(p, ..)| *p == port).map(|(.., index)| *index);
                assert_eq!(recent.newest_mut(&flow(port)).copied(), newest);
                assert!(recent.slots.len() <= BOUND);
            }
            let flows: std::collections::BTreeSet<_> = list.iter().map(|(port, ..)| port).collect();
            let numbers: std::collections::BTreeSet<_> = list.iter().map(|(_, n, _)| n).filter(|n| **n > 0).collect();
            assert_eq!((recent.by_flow.len(), recent.by_number.len()), (flows.len(), numbers.len()));
        }
    }
}
