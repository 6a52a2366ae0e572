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
    /// A watch that had been answered broke off: that alone is no news, it is taken up again.
    pub broke_off: bool,
}

impl Failure {
    /// Something that is no error of a watch.
    pub fn new(kind: Kind, error: &(dyn StdError + 'static)) -> Self {
        Self::said(kind, &message(error))
    }

    /// The same, in words.
    pub fn said(kind: Kind, words: &str) -> Self {
        Self { kind, message: printable(words).chars().take(MESSAGE).collect(), broke_off: false }
    }

    fn of_status(code: u16, message: &str) -> Self {
        Self::said(Kind::of_status(code), &format!("status {code}: {message}"))
    }
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
        match error {
            InitialListFailed(error) | WatchStartFailed(error) => error.into(),
            WatchFailed(error) => {
                let failure = Self::from(error);
                Self { broke_off: failure.kind == Kind::Connect, ..failure }
            }
            WatchError(status) => Self::of_status(status.code, &status.message),
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
            // kube takes any object for a status.
            Api(status) if status.code == 0 => Self::said(Kind::Decode, "neither an event nor a status in a watch"),
            Api(status) => Self::of_status(status.code, &status.message),
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
    text
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
        let Failure { kind, message, broke_off } = failure;
        self.health.count(*kind);
        let mut state = self.state();
        let well = state.well.take().map_or(Duration::ZERO, |since| now.duration_since(since));
        state.answered = None;
        self.show(false);
        if *kind == Kind::Gone {
            // An everyday matter of every watch.
            state.listed = false;
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Takes what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("alone").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(run: impl FnOnce(&Condition, &Health)) -> Vec<String> {
        let (log, health) = (Log::default(), Arc::new(Health::default()));
        let condition = Condition::new(Arc::clone(&health), "pods".into(), true, Duration::from_secs(2));
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).without_time().with_target(false);
        let subscriber = subscriber.with_ansi(false).with_max_level(tracing::Level::INFO).finish();
        tracing::subscriber::with_default(subscriber, || run(&condition, &health));
        let text = String::from_utf8(log.0.lock().expect("alone").clone()).expect("text");
        text.lines().map(|line| line.trim().chars().take(60).collect()).collect()
    }

    #[test]
    fn a_change_is_logged_once() {
        let lines = logged(|condition, health| {
            let start = Instant::now();
            let after = |seconds| start + Duration::from_secs(seconds);
            let refused = Failure::said(Kind::Forbidden, "no\u{1b}[31m");
            let down = Failure::said(Kind::Connect, "refused");
            for _ in 0..100 {
                condition.failed(&refused, start);
            }
            for _ in 0..100 {
                condition.failed(&down, start);
            }
            condition.complete(7, after(10));
            assert!(health.is_up());
            condition.complete(7, after(11));
            assert_eq!(condition.failed(&down, after(70)), Duration::from_secs(60));
            assert!(!health.is_up());
            condition.answered(after(71));
            condition.settle(8, after(72));
            assert!(!health.is_up(), "it may fail at once");
            condition.settle(8, after(73));
            assert!(health.is_up());
            assert_eq!(health.errors().map(|(_, count)| count), [101, 100, 0, 0, 0]);
        });
        let expected = [
            "WARN pods: the Kubernetes API does not allow it: give the se",
            "WARN pods: the Kubernetes API cannot be reached: refused; wh",
            "INFO pods: in sync, 7 known",
            "WARN pods: the Kubernetes API cannot be reached: refused; wh",
            "INFO pods: in sync, 8 known",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn everyday_matters_are_not_logged() {
        let lines = logged(|condition, health| {
            let now = Instant::now();
            let broke_off = Failure { broke_off: true, ..Failure::said(Kind::Connect, "unexpected EOF") };
            condition.complete(7, now);
            for i in 1..100 {
                let now = now + Duration::from_secs(i * 10);
                condition.failed(&broke_off, now);
                condition.answered(now);
                condition.settle(7, now + Duration::from_secs(2));
                assert!(health.is_up());
                condition.failed(&Failure::said(Kind::Gone, "too old"), now + Duration::from_secs(3));
                condition.answered(now + Duration::from_secs(4));
                condition.settle(7, now + Duration::from_secs(9));
                assert!(!health.is_up(), "not before it is listed again");
                condition.complete(7, now + Duration::from_secs(9));
            }
        });
        assert_eq!(lines, ["INFO pods: in sync, 7 known"]);
    }

    #[test]
    fn messages_are_one_printable_line() {
        let failure = Failure::said(Kind::Other, &format!("a\n\u{1b}[2J{}", "x".repeat(10_000)));
        assert!(failure.message.starts_with("a\\n\\u{1b}[2Jxxx") && failure.message.chars().count() == MESSAGE);
    }
}
