//! How the watches fare: for the metrics, and a line in the log when it changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::{Failure, Kind};

/// How all watches fare, for the metrics.
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

/// How one watch fares.
#[derive(Debug)]
pub struct Condition {
    health: Arc<Health>,
    /// What is watched, for the log.
    what: String,
    /// Whether [`Health::is_up`] is about it.
    shown: bool,
    /// How long an answered watch must go on to count as well.
    settling: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A whole list was seen, and nothing was missed since.
    listed: bool,
    /// What was told of the last error; none: it is well, or nothing was told yet.
    failing: Option<Kind>,
    /// Whether it was ever told that it is well.
    told: bool,
    /// When a watch was answered that has not failed since.
    answered: Option<Instant>,
    /// Since when it is well.
    well: Option<Instant>,
}

impl Condition {
    /// Nothing happened yet.
    pub fn new(health: Arc<Health>, what: String, shown: bool, settling: Duration) -> Self {
        Self { health, what, shown, settling, state: Mutex::default() }
    }

    /// A watch was answered with success.
    pub fn answered(&self, now: Instant) {
        let mut state = self.state();
        state.answered = state.answered.or(Some(now));
    }

    /// A list was seen to its end.
    pub fn complete(&self, held: usize, now: Instant) {
        let mut state = self.state();
        state.listed = true;
        self.recover(&mut state, held, now);
    }

    /// Time goes on: whether a watch that was answered has gone on for long enough.
    pub fn settle(&self, held: impl FnOnce() -> usize, now: Instant) {
        let mut state = self.state();
        let settled = state.answered.is_some_and(|since| now.duration_since(since) >= self.settling);
        if state.listed && state.well.is_none() && settled {
            self.recover(&mut state, held(), now);
        }
    }

    /// Something went wrong. Answers how long all was well before.
    pub fn failed(&self, failure: &Failure, now: Instant) -> Duration {
        let Failure { kind, message, broke_off } = failure;
        self.health.count(*kind);
        let mut state = self.state();
        let well = state.well.take().map_or(Duration::ZERO, |since| now.duration_since(since));
        state.answered = None;
        self.show(false);
        if matches!(kind, Kind::Gone | Kind::Decode) {
            state.listed = false;
        }
        if *kind == Kind::Gone {
            // An everyday matter of every watch.
            tracing::debug!("{}: listed again: {message}", self.what);
        } else if *broke_off || state.failing.replace(*kind) == Some(*kind) {
            tracing::debug!("{}: {message}", self.what);
        } else {
            tracing::warn!(
                "{}: {kind}: {message}; what is known stays, what is new has no name until it answers",
                self.what
            );
        }
        well
    }

    fn recover(&self, state: &mut State, held: usize, now: Instant) {
        state.well = state.well.or(Some(now));
        self.show(true);
        if state.failing.take().is_some() || !state.told {
            state.told = true;
            tracing::info!("{}: in sync, {held} known", self.what);
        }
    }

    fn show(&self, up: bool) {
        if self.shown {
            self.health.up.store(up, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
