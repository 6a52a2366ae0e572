//! The users, with the hashes of their passwords.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::sync::Arc;

use bcrypt::HashParts;

/// Accepted bcrypt costs. Above 16, one check takes longer than a scrape may.
pub(crate) const COSTS: RangeInclusive<u32> = 4..=16;

/// Names with their bcrypt hashes.
pub(crate) struct Users {
    hashes: BTreeMap<String, Arc<str>>,
    /// One hash per user, of equal cost, that no password matches: checking an unknown name takes as long as a known one.
    decoys: Vec<Arc<str>>,
    /// Chooses a decoy by name: always the same one for a name.
    hasher: RandomState,
}

impl Users {
    /// Users by name, with valid bcrypt hashes.
    pub(crate) fn new(hashes: BTreeMap<String, String>) -> Self {
        let hashes: BTreeMap<String, Arc<str>> = hashes.into_iter().map(|(name, hash)| (name, hash.into())).collect();
        let costs = hashes.values().filter_map(|hash| hash.parse::<HashParts>().ok()).map(|hash| hash.get_cost());
        let decoys =
            costs.map(|cost| format!("$2y${cost:02}$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi").into());
        Self { decoys: decoys.collect(), hashes, hasher: RandomState::new() }
    }

    /// Whether there are no users, so that no password is needed.
    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether there is a user of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.hashes.contains_key(name)
    }

    /// The hash to compare a password with, and whether it belongs to a user; `None` if there are no users.
    pub(super) fn hash(&self, name: &str) -> Option<(Arc<str>, bool)> {
        let known = self.hashes.get(name).map(|hash| (Arc::clone(hash), true));
        known.or_else(|| {
            let count = u64::try_from(self.decoys.len()).ok().filter(|count| *count > 0)?;
            let index = usize::try_from(self.hasher.hash_one(name) % count).ok()?;
            Some((Arc::clone(&self.decoys[index]), false))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_get_a_decoy_of_equal_cost() {
        let hash = bcrypt::hash("secret", 5).expect("hashed");
        let users = Users::new(BTreeMap::from([("alice".to_owned(), hash.clone())]));
        assert_eq!(users.hash("alice"), Some((hash.into(), true)));
        let (decoy, is_user) = users.hash("mallory").expect("a decoy");
        assert!(!is_user && decoy.starts_with("$2y$05$"), "{decoy}");
        assert!(Users::new(BTreeMap::new()).hash("alice").is_none());
    }
}
