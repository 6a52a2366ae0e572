//! The state of the watches, for the metrics, and a log line whenever it changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::{Failure, Kind};

/// The state of all watches, for the metrics.
#[derive(Debug, Default)]
pub struct Health {
    up: AtomicBool,
    errors: [AtomicU64; Kind::ALL.len()],
}

impl Health {
    /// Whether the watch of this node's pods is in sync.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Errors of all watches since the start.
    pub fn errors(&self) -> [(Kind, u64); Kind::ALL.len()] {
        std::array::from_fn(|i| (Kind::ALL[i], self.errors[i].load(Ordering::Relaxed)))
    }

    fn count(&self, kind: Kind) {
        for (_, count) in Kind::ALL.iter().zip(&self.errors).filter(|(counted, _)| **counted == kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The state of one watch.
#[derive(Debug)]
pub struct WatchHealth {
    health: Arc<Health>,
    /// The watched objects, for the log.
    subject: String,
    /// Whether [`Health::is_up`] reports this watch.
    reported: bool,
    /// How long an accepted watch must last to count as healthy.
    settling: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A list was completed, and nothing has been missed since.
    listed: bool,
    /// The kind of the last logged error; `None` while healthy, or if nothing was logged.
    failing: Option<Kind>,
    /// Whether recovery was ever logged.
    logged: bool,
    /// When a watch was accepted that has not failed since.
    accepted: Option<Instant>,
    /// Since when the watch is healthy.
    healthy: Option<Instant>,
}

impl WatchHealth {
    /// The state before the first request.
    pub fn new(health: Arc<Health>, subject: String, reported: bool, settling: Duration) -> Self {
        Self { health, subject, reported, settling, state: Mutex::default() }
    }

    /// The API accepted a watch.
    pub fn watch_accepted(&self, now: Instant) {
        let mut state = self.state();
        state.accepted = state.accepted.or(Some(now));
    }

    /// A list was completed.
    pub fn list_completed(&self, held: usize, now: Instant) {
        let mut state = self.state();
        state.listed = true;
        self.recover(&mut state, held, now);
    }

    /// Checks whether an accepted watch has lasted long enough; call it periodically.
    pub fn settle(&self, held: impl FnOnce() -> usize, now: Instant) {
        let mut state = self.state();
        let settled = state.accepted.is_some_and(|since| now.duration_since(since) >= self.settling);
        if state.listed && state.healthy.is_none() && settled {
            self.recover(&mut state, held(), now);
        }
    }

    /// Notes an error. Returns how long the watch was healthy before it.
    pub fn failed(&self, failure: &Failure, now: Instant) -> Duration {
        let Failure { kind, message, interrupted } = failure;
        self.health.count(*kind);
        let mut state = self.state();
        let healthy = state.healthy.take().map_or(Duration::ZERO, |since| now.duration_since(since));
        state.accepted = None;
        self.report(false);
        if matches!(kind, Kind::Gone | Kind::Decode) {
            state.listed = false;
        }
        if *kind == Kind::Gone {
            // Normal for any watch.
            tracing::debug!("{}: reading the list again: {message}", self.subject);
        } else if *interrupted || state.failing.replace(*kind) == Some(*kind) {
            tracing::debug!("{}: {message}", self.subject);
        } else {
            tracing::warn!(
                "{}: {kind}: {message}; known names remain, new objects have no names until this is resolved",
                self.subject
            );
        }
        healthy
    }

    fn recover(&self, state: &mut State, held: usize, now: Instant) {
        state.healthy = state.healthy.or(Some(now));
        self.report(true);
        if state.failing.take().is_some() || !state.logged {
            state.logged = true;
            tracing::info!("{}: in sync, {held} known", self.subject);
        }
    }

    fn report(&self, up: bool) {
        if self.reported {
            self.health.up.store(up, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
