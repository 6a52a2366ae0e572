//! An error of the API: its kind, and a message of one printable line.

use std::error::Error as StdError;
use std::fmt;

use kube::runtime::watcher;

use super::response_error::ResponseError;
use rstwatch_verdict::escape::printable;

/// Longest logged message in characters.
const MAX_MESSAGE: usize = 300;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not connected, connection lost, or no response in time.
    Connect,
    /// Not authorized: status 401 or 403.
    Forbidden,
    /// The requested resource version is too old (status 410); the list is read again.
    Gone,
    /// The response cannot be decoded or is too long.
    Decode,
    /// Any other status, or an unusable configuration.
    Other,
}

impl Kind {
    /// Every kind, in the order of the metric.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Forbidden, Self::Gone, Self::Decode, Self::Other];

    /// The value of the label.
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
    /// Its kind.
    pub kind: Kind,
    /// One printable line.
    pub message: String,
    /// An established watch lost its connection. That is normal; the watch resumes.
    pub interrupted: bool,
}

impl Failure {
    /// An error with the messages of its causes.
    pub fn new(kind: Kind, error: &(dyn StdError + 'static)) -> Self {
        Self::with_message(kind, &message(error))
    }

    /// An error with this message.
    pub fn with_message(kind: Kind, message: &str) -> Self {
        Self { kind, message: printable(message).chars().take(MAX_MESSAGE).collect(), interrupted: false }
    }

    fn of_status(code: u16, message: &str) -> Self {
        Self::with_message(Kind::of_status(code), &format!("status {code}: {message}"))
    }
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
        match error {
            InitialListFailed(error) | WatchStartFailed(error) => error.into(),
            WatchFailed(error) => {
                let failure = Self::from(error);
                Self { interrupted: failure.kind == Kind::Connect, ..failure }
            }
            WatchError(status) => Self::of_status(status.code, &status.message),
            NoResourceVersion => Self::new(Kind::Decode, error),
        }
    }
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        if let Some(cause) = response_error(error) {
            let kind = match cause {
                ResponseError::Status(code) => Kind::of_status(*code),
                ResponseError::TooLong(_) => Kind::Decode,
                ResponseError::Timeout(_) | ResponseError::ListTimeout(_) => Kind::Connect,
            };
            return Self::new(kind, cause);
        }
        use kube::Error::{Api, FromUtf8, HyperError, ReadEvents, SerdeError, Service};
        match error {
            // kube decodes any object as a status.
            Api(status) if status.code == 0 => {
                Self::with_message(Kind::Decode, "a watch sent neither an event nor a status")
            }
            Api(status) => Self::of_status(status.code, &status.message),
            FromUtf8(_) | SerdeError(_) => Self::new(Kind::Decode, error),
            HyperError(_) | ReadEvents(_) | Service(_) => Self::new(Kind::Connect, error),
            _ => Self::new(Kind::Other, error),
        }
    }
}

fn response_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a ResponseError> {
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

/// The chain of causes in one line, without repetitions.
fn message(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for error in causes(error) {
        let message = error.to_string();
        if !text.contains(&message) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = text + colon + &message;
        }
    }
    text
}

impl fmt::Display for Kind {
    /// What happened and what to do about it, for the log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "the Kubernetes API cannot be reached",
            Self::Forbidden => {
                "the Kubernetes API does not allow it: grant the service account the verbs list and watch"
            }
            Self::Gone => "the Kubernetes API no longer has the requested version",
            Self::Decode => "the response of the Kubernetes API cannot be read",
            Self::Other => "the Kubernetes API cannot be used",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_printable_line() {
        let failure = Failure::with_message(Kind::Other, &format!("a\n\u{1b}[2J{}", "x".repeat(10_000)));
        assert!(failure.message.starts_with("a\\n\\u{1b}[2Jxxx") && failure.message.chars().count() == MAX_MESSAGE);
    }
}
