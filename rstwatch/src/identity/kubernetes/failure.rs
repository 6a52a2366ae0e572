//! What went wrong with the API: its sort, and one line that can be shown.

use std::error::Error as StdError;
use std::fmt;

use kube::runtime::watcher;

use super::guard::Refusal;
use rstwatch_verdict::escape::printable;

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
    use super::*;

    #[test]
    fn messages_are_one_printable_line() {
        let failure = Failure::said(Kind::Other, &format!("a\n\u{1b}[2J{}", "x".repeat(10_000)));
        assert!(failure.message.starts_with("a\\n\\u{1b}[2Jxxx") && failure.message.chars().count() == MESSAGE);
    }
}
