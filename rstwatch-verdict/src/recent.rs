//! A bounded queue of recent entries, indexed by flow.

use std::collections::{HashMap, VecDeque};

use rstwatch_common::flow::Flow;

/// Entries in insertion order, each with a flow. Beyond the bound the oldest are evicted.
pub struct Recent<T> {
    bound: usize,
    next: u64,
    /// Numbers and flows in insertion order, including those of entries that were taken.
    order: VecDeque<(u64, Flow)>,
    entries: HashMap<Flow, Vec<(u64, T)>>,
    len: usize,
}

impl<T> Recent<T> {
    /// Keeps at most `bound` entries.
    pub fn new(bound: usize) -> Self {
        Self { bound, next: 0, order: VecDeque::new(), entries: HashMap::new(), len: 0 }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry; returns the evicted one.
    pub fn push(&mut self, flow: Flow, entry: T) -> Option<T> {
        let evicted = if self.len >= self.bound { self.pop_front_if(|_| true) } else { None };
        self.order.push_back((self.next, flow));
        self.entries.entry(flow).or_default().push((self.next, entry));
        self.next += 1;
        self.len += 1;
        evicted
    }

    /// Takes the oldest fitting entry of a flow.
    pub fn take(&mut self, flow: &Flow, fits: impl Fn(&T) -> bool) -> Option<T> {
        let (number, _) = self.entries.get(flow)?.iter().find(|(_, entry)| fits(entry))?;
        let taken = self.take_number(flow, *number);
        self.trim_order();
        taken
    }

    /// The newest entry of a flow.
    pub fn newest_mut(&mut self, flow: &Flow) -> Option<&mut T> {
        self.entries.get_mut(flow)?.last_mut().map(|(_, entry)| entry)
    }

    /// Takes the oldest entry, if it fits.
    pub fn pop_front_if(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.trim_order();
        let (number, flow) = *self.order.front()?;
        let oldest = self.entries.get(&flow)?.iter().find(|(n, _)| *n == number)?;
        if !fits(&oldest.1) {
            return None;
        }
        self.order.pop_front();
        self.take_number(&flow, number)
    }

    fn take_number(&mut self, flow: &Flow, number: u64) -> Option<T> {
        let of_flow = self.entries.get_mut(flow)?;
        let index = of_flow.iter().position(|(n, _)| *n == number)?;
        let (_, entry) = of_flow.remove(index);
        if of_flow.is_empty() {
            self.entries.remove(flow);
        }
        self.len -= 1;
        Some(entry)
    }

    /// Removes the numbers of taken entries from the front, and all of them once the order has outgrown twice the bound.
    fn trim_order(&mut self) {
        while self.order.front().is_some_and(|(number, flow)| !self.contains(*number, flow)) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.bound {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(number, flow)| self.contains(*number, flow));
            self.order = order;
        }
    }

    fn contains(&self, number: u64, flow: &Flow) -> bool {
        self.entries.get(flow).is_some_and(|of_flow| of_flow.iter().any(|(n, _)| *n == number))
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

    proptest::proptest! {
        /// Compares with a plain list.
        #[test]
        fn behaves_like_a_list(steps in proptest::collection::vec((0u8..4, 0u16..6), 0..300)) {
            const BOUND: usize = 8;
            let mut recent = Recent::new(BOUND);
            let mut list: Vec<(u16, usize)> = Vec::new();
            for (index, (action, port)) in steps.into_iter().enumerate() {
                match action {
                    0 | 1 => {
                        let evicted = if list.len() >= BOUND { Some(list.remove(0).1) } else { None };
                        list.push((port, index));
                        assert_eq!(recent.push(flow(port), index), evicted);
                    }
                    2 => {
                        let at = list.iter().position(|(p, _)| *p == port);
                        assert_eq!(recent.take(&flow(port), |_| true), at.map(|at| list.remove(at).1));
                    }
                    _ => {
                        let first = if list.is_empty() { None } else { Some(list.remove(0).1) };
                        assert_eq!(recent.pop_front_if(|_| true), first);
                    }
                }
                assert_eq!(recent.len(), list.len());
                assert!(recent.order.len() <= 2 * BOUND + 1);
            }
        }
    }
}
