//! The most frequent of many keys, in bounded memory (the Space-Saving algorithm, Metwally et al. 2005).

use std::collections::HashMap;
use std::hash::Hash;

/// Counts keys; at capacity, a new key replaces the rarest.
#[derive(Clone, Debug)]
pub(super) struct Top<K, V = ()> {
    capacity: usize,
    slots: HashMap<K, Slot<V>>,
    total: u64,
    evicted: bool,
}

#[derive(Clone, Debug)]
struct Slot<V> {
    count: u64,
    /// How much of the count may belong to evicted keys.
    over: u64,
    value: V,
}

/// One of the most frequent keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranked<K> {
    /// The key.
    pub key: K,
    /// Its count: a lower bound.
    pub count: u64,
}

impl<K: Clone + Eq + Hash + Ord, V> Top<K, V> {
    /// No counts yet.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), slots: HashMap::new(), total: 0, evicted: false }
    }

    /// Counts a key. Returns the value that is stored with it.
    pub(super) fn add(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        self.total += 1;
        let mut over = 0;
        if !self.slots.contains_key(&key) && self.slots.len() >= self.capacity {
            over = self.evict();
        }
        let slot = self.slots.entry(key).or_insert_with(|| Slot { count: over, over, value: value() });
        slot.count += 1;
        &mut slot.value
    }

    /// Removes the rarest key. Returns its count.
    fn evict(&mut self) -> u64 {
        let rarest = self.slots.iter().min_by(|a, b| (a.1.count, a.0).cmp(&(b.1.count, b.0)));
        let Some((key, count)) = rarest.map(|(key, slot)| (key.clone(), slot.count)) else { return 0 };
        self.slots.remove(&key);
        self.evicted = true;
        count
    }

    /// The sum of all counts.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The number of different keys; `None` once a key was evicted.
    pub(super) fn distinct(&self) -> Option<usize> {
        (!self.evicted).then_some(self.slots.len())
    }

    /// All keys, the most frequent first. Counts are lower bounds, and exact unless a key was evicted.
    pub(super) fn ranked(&self) -> Vec<(Ranked<K>, &V)> {
        let ranked = |(key, slot): (&K, _)| -> (Ranked<K>, &V) {
            let Slot { count, over, value }: &Slot<V> = slot;
            (Ranked { key: key.clone(), count: count - over }, value)
        };
        let mut all: Vec<_> = self.slots.iter().map(ranked).collect();
        all.sort_by(|(a, _), (b, _)| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_lower_bounds_and_frequent_keys_are_kept(keys in prop::collection::vec(0..30_u8, 0..400), capacity in 1..12_usize) {
            let mut top = Top::new(capacity);
            let mut naive = BTreeMap::<u8, u64>::new();
            for key in &keys {
                top.add(*key, || ());
                *naive.entry(*key).or_default() += 1;
            }
            let ranked = top.ranked();
            prop_assert!(ranked.len() <= capacity);
            prop_assert_eq!(top.total(), keys.len() as u64);
            prop_assert_eq!(top.distinct(), (naive.len() <= capacity).then_some(naive.len()));
            for (Ranked { key, count }, ()) in &ranked {
                prop_assert!(*count <= naive[key] && *count > 0);
                prop_assert!(naive.len() > capacity || *count == naive[key]);
            }
            // A key with more than 1/capacity of the total is never lost.
            for (key, count) in &naive {
                let frequent = count * capacity as u64 > keys.len() as u64;
                prop_assert!(!frequent || ranked.iter().any(|(it, ())| it.key == *key));
            }
        }
    }
}
