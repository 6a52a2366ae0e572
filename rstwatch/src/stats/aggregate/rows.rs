//! A list that is cheap to copy: copies share the parts that neither has changed since.

use std::sync::Arc;

/// Values in a part. A change copies at most one part.
const PART: usize = 128;

/// A list that only grows, in parts that copies share.
#[derive(Clone, Debug)]
pub(super) struct Rows<T>(Vec<Arc<Vec<T>>>);

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Rows<T> {
    /// Appends a value and returns its index.
    pub(super) fn push(&mut self, value: T) -> usize {
        let index = self.len();
        match self.0.last_mut().filter(|part| part.len() < PART) {
            Some(part) => Arc::make_mut(part).push(value),
            None => {
                let mut part = Vec::with_capacity(PART);
                part.push(value);
                self.0.push(Arc::new(part));
            }
        }
        index
    }

    /// The value at an index, mutable.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index / PART).and_then(|part| Arc::make_mut(part).get_mut(index % PART))
    }

    /// The value at an index.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index / PART).and_then(|part| part.get(index % PART))
    }

    /// All values, in order of insertion.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|part| part.iter())
    }

    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * PART + last.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_unaffected_by_changes_and_a_change_copies_one_part() {
        let mut rows = Rows::default();
        let indexes: Vec<_> = (0..1_000).map(|n| rows.push(n)).collect();
        assert_eq!(indexes, (0..1_000).collect::<Vec<_>>());
        let copy = rows.clone();
        *rows.get_mut(500).expect("there") = 7;
        rows.push(1_000);
        assert_eq!((copy.get(500), copy.get(1_000), copy.len()), (Some(&500), None, 1_000));
        assert_eq!((rows.get(500), rows.get(1_000), rows.len()), (Some(&7), Some(&1_000), 1_001));
        let shared = rows.0.iter().zip(&copy.0).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert_eq!((copy.0.len(), shared), (8, 6), "all parts but the changed and the grown one");
        assert_eq!(copy.iter().copied().collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
        assert_eq!(rows.get_mut(5_000), None);
    }
}
