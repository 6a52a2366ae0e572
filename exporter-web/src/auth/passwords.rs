//! Checks passwords at a bounded cost.
//!
//! bcrypt is slow by design, so wrong passwords could exhaust the CPU. Passwords are therefore checked one at a time, on a
//! blocking thread, and a wrong one delays the next check by as long as its own check took: wrong passwords use at most half
//! a CPU. Correct passwords are cached, so scrapes do not wait.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::crypto::{GetRandomFailed, ring};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::users::Users;
use crate::peer::network;

/// Limit of queued checks; further ones are refused.
const MAX_QUEUED: usize = 64;

/// Limit of queued checks per peer; see [`network`].
const MAX_QUEUED_PER_PEER: usize = 8;

/// Number of wrong passwords that are cached, so that repeating one costs nothing.
const MAX_WRONG: usize = 256;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasswordResult {
    /// The user's password.
    Correct,
    /// Another password, or no such user.
    Wrong,
    /// Not checked: too many checks are queued.
    Busy,
}

/// A keyed digest of a user's name, the bcrypt hash and a password; without the key it reveals nothing.
type Fingerprint = [u8; 32];

/// Checks passwords and caches the results.
pub(crate) struct PasswordChecker {
    /// Key of the fingerprints.
    key: [u8; 32],
    state: Mutex<CheckerState>,
    /// Admits one check at a time.
    semaphore: Arc<Semaphore>,
}

#[derive(Default)]
struct CheckerState {
    /// The last correct password of each user. Wrong ones cannot evict it.
    correct: HashMap<String, Fingerprint>,
    wrong: VecDeque<Fingerprint>,
    queued: usize,
    queued_by_peer: HashMap<IpAddr, usize>,
}

impl PasswordChecker {
    /// Creates a checker with an empty cache.
    ///
    /// # Errors
    /// If the system's random number generator fails.
    pub(crate) fn new() -> Result<Arc<Self>, GetRandomFailed> {
        let mut key = [0; 32];
        ring::default_provider().secure_random.fill(&mut key)?;
        Ok(Arc::new(Self { key, state: Mutex::default(), semaphore: Arc::new(Semaphore::new(1)) }))
    }

    /// Whether this is the user's password.
    pub(crate) async fn check(
        self: &Arc<Self>,
        users: &Users,
        user: &str,
        password: &[u8],
        peer: IpAddr,
    ) -> PasswordResult {
        let Some((hash, is_user)) = users.hash(user) else { return PasswordResult::Wrong };
        let fingerprint = self.fingerprint(user, &hash, password);
        if let Some(result) = self.cached(user, &fingerprint) {
            return result;
        }
        let Some(_slot) = QueueSlot::take(self, peer) else { return PasswordResult::Busy };
        let Ok(permit) = Arc::clone(&self.semaphore).acquire_owned().await else { return PasswordResult::Busy };
        // Another request may have checked the same password in the meantime.
        if let Some(result) = self.cached(user, &fingerprint) {
            return result;
        }
        let (checker, user, password) = (Arc::clone(self), user.to_owned(), password.to_owned());
        // Spawned, so that it completes even if the client disconnects; the next request then finds the result.
        let check = tokio::spawn(async move {
            let began = Instant::now();
            let matches = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
            let is_correct = is_user && matches.unwrap_or(false);
            checker.cache(user, fingerprint, is_correct);
            let took = began.elapsed();
            tokio::spawn(async move {
                if !is_correct {
                    tokio::time::sleep(took).await;
                }
                drop(permit);
            });
            is_correct
        });
        if check.await.unwrap_or(false) { PasswordResult::Correct } else { PasswordResult::Wrong }
    }

    /// Forgets the passwords of users that no longer exist.
    pub(crate) fn retain(&self, users: &Users) {
        self.state().correct.retain(|user, _| users.contains(user));
    }

    fn fingerprint(&self, user: &str, hash: &str, password: &[u8]) -> Fingerprint {
        let mut digest = Sha256::new_with_prefix(self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn cached(&self, user: &str, fingerprint: &Fingerprint) -> Option<PasswordResult> {
        let state = self.state();
        if state.correct.get(user) == Some(fingerprint) {
            return Some(PasswordResult::Correct);
        }
        state.wrong.contains(fingerprint).then_some(PasswordResult::Wrong)
    }

    fn cache(&self, user: String, fingerprint: Fingerprint, is_correct: bool) {
        let mut state = self.state();
        if is_correct {
            state.correct.insert(user, fingerprint);
            return;
        }
        if state.wrong.len() >= MAX_WRONG {
            state.wrong.pop_front();
        }
        state.wrong.push_back(fingerprint);
    }

    fn state(&self) -> MutexGuard<'_, CheckerState> {
        // No panic can leave the state half updated.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot in the queue of checks, released on drop.
struct QueueSlot<'a> {
    checker: &'a PasswordChecker,
    peer: IpAddr,
}

impl<'a> QueueSlot<'a> {
    fn take(checker: &'a PasswordChecker, peer: IpAddr) -> Option<Self> {
        let (peer, mut state) = (network(peer), checker.state());
        let by_peer = state.queued_by_peer.get(&peer).copied().unwrap_or(0);
        if state.queued >= MAX_QUEUED || by_peer >= MAX_QUEUED_PER_PEER {
            return None;
        }
        state.queued += 1;
        state.queued_by_peer.insert(peer, by_peer + 1);
        drop(state);
        Some(Self { checker, peer })
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        let mut state = self.checker.state();
        state.queued -= 1;
        if let Some(by_peer) = state.queued_by_peer.get_mut(&self.peer) {
            *by_peer -= 1;
            if *by_peer == 0 {
                state.queued_by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_peer() {
        let checker = PasswordChecker::new().expect("random numbers");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let slots: Vec<_> =
            (0..20).filter_map(|n| QueueSlot::take(&checker, ip(&format!("2001:db8::{n:x}:1")))).collect();
        assert_eq!(slots.len(), MAX_QUEUED_PER_PEER);
        for other in ["2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.2"] {
            assert!(QueueSlot::take(&checker, ip(other)).is_some(), "{other}");
        }
        drop(slots);
        assert!(checker.state().queued_by_peer.is_empty());
    }
}
