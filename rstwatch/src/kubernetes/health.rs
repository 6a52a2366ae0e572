//! How the watches fare: for the metrics, and a line in the log when it changes.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::watcher;

use super::guard::Refusal;
use crate::escape::printable;

/// Longest message of an error that is logged (characters).
const MESSAGE: usize = 300;

/// What sort of error it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No connection, or it broke, or no answer came in time.
    Connect,
    /// Not allowed: status 401 or 403.
    Forbidden,
    /// What was asked for is too old (status 410): everything is listed again.
    Gone,
    /// What came is not what the API speaks, or too long.
    Decode,
    /// Any other status, and bad settings.
    Other,
}

impl Kind {
    /// In the order of the metric.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Forbidden, Self::Gone, Self::Decode, Self::Other];

    /// As in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Decode => "decode",
            Self::Other => "other",
        }
    }

    fn of_status(code: u16) -> Self {
        match code {
            401 | 403 => Self::Forbidden,
            410 => Self::Gone,
            _ => Self::Other,
        }
    }
}

/// An error with its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort.
    pub kind: Kind,
    /// One printable line.
    pub message: String,
}

impl Failure {
    /// Something that is no error of a watch.
    pub fn new(kind: Kind, error: &(dyn StdError + 'static)) -> Self {
        Self { kind, message: message(error) }
    }
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
        match error {
            InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => error.into(),
            WatchError(status) => Self {
                kind: Kind::of_status(status.code),
                message: shortened(&format!("the watch ended with status {}: {}", status.code, status.message)),
            },
            NoResourceVersion => Self::new(Kind::Decode, error),
        }
    }
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        if let Some(refusal) = refusal(error) {
            let kind = match refusal {
                Refusal::Status(code) => Kind::of_status(*code),
                Refusal::TooLong(_) => Kind::Decode,
                Refusal::Silent(_) | Refusal::Slow(_) => Kind::Connect,
            };
            return Self::new(kind, refusal);
        }
        use kube::Error::{Api, FromUtf8, HyperError, ReadEvents, SerdeError, Service};
        match error {
            Api(status) => Self {
                kind: Kind::of_status(status.code),
                message: shortened(&format!("status {}: {}", status.code, status.message)),
            },
            FromUtf8(_) | SerdeError(_) => Self::new(Kind::Decode, error),
            HyperError(_) | ReadEvents(_) | Service(_) => Self::new(Kind::Connect, error),
            _ => Self::new(Kind::Other, error),
        }
    }
}

fn refusal<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Refusal> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The chain of causes in one line, each said once.
fn message(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for error in causes(error) {
        let said = error.to_string();
        if !text.contains(&said) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = text + colon + &said;
        }
    }
    shortened(&text)
}

fn shortened(text: &str) -> String {
    printable(text).chars().take(MESSAGE).collect()
}

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
    pub fn settle(&self, held: usize, now: Instant) {
        let mut state = self.state();
        let settled = state.answered.is_some_and(|since| now.duration_since(since) >= self.settling);
        if state.listed && state.well.is_none() && settled {
            self.recover(&mut state, held, now);
        }
    }

    /// Something went wrong. Answers how long all was well before.
    pub fn failed(&self, failure: &Failure, now: Instant) -> Duration {
        let Failure { kind, message } = failure;
        self.health.count(*kind);
        let mut state = self.state();
        let well = state.well.take().map_or(Duration::ZERO, |since| now.duration_since(since));
        state.answered = None;
        self.show(false);
        if *kind == Kind::Gone {
            // An everyday matter of every watch.
            state.listed = false;
            tracing::debug!("{}: listed again: {message}", self.what);
        } else if state.failing.replace(*kind) == Some(*kind) {
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

impl fmt::Display for Kind {
    /// What it means, for people.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "the Kubernetes API cannot be reached",
            Self::Forbidden => {
                "the Kubernetes API does not allow it: give the service account the verbs list and watch"
            }
            Self::Gone => "the Kubernetes API has forgotten what was asked for",
            Self::Decode => "what the Kubernetes API sent cannot be read",
            Self::Other => "the Kubernetes API cannot be used",
        })
    }
}
