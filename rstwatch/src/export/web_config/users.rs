//! Users and passwords: who may ask, at a bounded price.
//!
//! bcrypt is slow on purpose, so whoever asks with a wrong password makes work. One is checked at a time, on a thread of its
//! own, and after a wrong one there is a pause as long as the check took: no more than half a CPU, whatever comes. A password
//! that was right is remembered, so scrapes do not wait for that.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bcrypt::HashParts;
use rustls::crypto::ring;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::export::http::table::network;

/// Costs of bcrypt that are taken: beyond 16 one check takes longer than a scrape may.
pub(super) const COSTS: RangeInclusive<u32> = 4..=16;

/// How many wait for a check at once; more are refused.
const MAX_WAITING: usize = 64;

/// How many of one peer's.
const MAX_WAITING_OF_PEER: usize = 8;

/// How many wrong passwords are remembered, so that a client that repeats one makes no work.
const WRONG_REMEMBERED: usize = 256;

/// Names with their hashes.
pub struct Users {
    hashes: BTreeMap<String, Arc<str>>,
    /// Hashes that nobody's password has, with the costs of the others: a name that is not there takes as long.
    decoys: Vec<Arc<str>>,
    choice: RandomState,
}

impl Users {
    /// These, with their hashes by bcrypt.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Self {
        let hashes: BTreeMap<String, Arc<str>> = hashes.into_iter().map(|(name, hash)| (name, hash.into())).collect();
        let costs = hashes.values().filter_map(|hash| hash.parse::<HashParts>().ok()).map(|hash| hash.get_cost());
        let decoys =
            costs.map(|cost| format!("$2y${cost:02}$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi").into());
        Self { decoys: decoys.collect(), hashes, choice: RandomState::new() }
    }

    /// Whether anybody may ask.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash that a password is compared with, and whether it is the user's.
    fn hash(&self, user: &str) -> Option<(Arc<str>, bool)> {
        let known = self.hashes.get(user).map(|hash| (Arc::clone(hash), true));
        known.or_else(|| {
            let choice = self.choice.hash_one(user) % u64::try_from(self.decoys.len()).ok().filter(|n| *n > 0)?;
            Some((Arc::clone(&self.decoys[usize::try_from(choice).ok()?]), false))
        })
    }
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Too many are waiting.
    Busy,
}

/// A name, its hash and a password as one number that says nothing without the key.
type Seal = [u8; 32];

/// Checks passwords, and remembers.
pub struct Checker {
    key: [u8; 32],
    memory: Mutex<Memory>,
    /// One at a time.
    turn: Arc<Semaphore>,
}

#[derive(Default)]
struct Memory {
    /// The last right password of each user. Wrong ones cannot push it out.
    right: HashMap<String, Seal>,
    wrong: VecDeque<Seal>,
    waiting: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Checker {
    /// Nothing known.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn new() -> anyhow::Result<Arc<Self>> {
        let mut key = [0; 32];
        let random = ring::default_provider().secure_random.fill(&mut key);
        random.map_err(|_| anyhow::anyhow!("this system gives no random numbers"))?;
        Ok(Arc::new(Self { key, memory: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }))
    }

    /// Whether this is the user's password.
    pub async fn check(self: &Arc<Self>, users: &Users, user: &str, password: &[u8], peer: IpAddr) -> Answer {
        let Some((hash, is_user)) = users.hash(user) else { return Answer::Wrong };
        let seal = self.seal(user, &hash, password);
        if let Some(known) = self.known(user, &seal) {
            return known;
        }
        let Some(_place) = Place::take(self, peer) else { return Answer::Busy };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return Answer::Busy };
        // Another may have asked the same meanwhile.
        if let Some(known) = self.known(user, &seal) {
            return known;
        }
        let (checker, user, password) = (Arc::clone(self), user.to_owned(), password.to_owned());
        // It goes on although the client may go: the next time the answer is known.
        let check = tokio::spawn(async move {
            let began = Instant::now();
            let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
            let is_right = is_user && compared.unwrap_or(false);
            checker.remember(user, seal, is_right);
            let took = began.elapsed();
            tokio::spawn(async move {
                if !is_right {
                    tokio::time::sleep(took).await;
                }
                drop(turn);
            });
            is_right
        });
        if check.await.unwrap_or(false) { Answer::Right } else { Answer::Wrong }
    }

    fn seal(&self, user: &str, hash: &str, password: &[u8]) -> Seal {
        let mut digest = Sha256::new_with_prefix(self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn known(&self, user: &str, seal: &Seal) -> Option<Answer> {
        let memory = self.memory();
        if memory.right.get(user) == Some(seal) {
            return Some(Answer::Right);
        }
        memory.wrong.contains(seal).then_some(Answer::Wrong)
    }

    fn remember(&self, user: String, seal: Seal, is_right: bool) {
        let mut memory = self.memory();
        if is_right {
            memory.right.insert(user, seal);
            return;
        }
        if memory.wrong.len() >= WRONG_REMEMBERED {
            memory.wrong.pop_front();
        }
        memory.wrong.push_back(seal);
    }

    /// Forgets whoever is no user any more.
    pub(super) fn keep(&self, users: &Users) {
        self.memory().right.retain(|user, _| users.hashes.contains_key(user));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing in it is changed half-way.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait.
struct Place<'a> {
    checker: &'a Checker,
    peer: IpAddr,
}

impl<'a> Place<'a> {
    fn take(checker: &'a Checker, peer: IpAddr) -> Option<Self> {
        let (peer, mut memory) = (network(peer), checker.memory());
        let of_peer = memory.by_peer.get(&peer).copied().unwrap_or(0);
        if memory.waiting >= MAX_WAITING || of_peer >= MAX_WAITING_OF_PEER {
            return None;
        }
        memory.waiting += 1;
        memory.by_peer.insert(peer, of_peer + 1);
        drop(memory);
        Some(Self { checker, peer })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut memory = self.checker.memory();
        memory.waiting -= 1;
        if let Some(of_peer) = memory.by_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                memory.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_have_a_peers_places() {
        let checker = Checker::new().expect("random numbers");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let of_one: Vec<_> = (0..20).filter_map(|n| Place::take(&checker, ip(&format!("2001:db8::{n:x}:1")))).collect();
        assert_eq!(of_one.len(), MAX_WAITING_OF_PEER);
        for other in ["2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.2"] {
            assert!(Place::take(&checker, ip(other)).is_some(), "{other}");
        }
        drop(of_one);
        assert!(checker.memory().by_peer.is_empty());
    }
}
