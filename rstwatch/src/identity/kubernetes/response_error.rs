//! Why a response of the API was rejected.

use std::time::Duration;

/// A response that the limits reject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The status is not a success.
    #[error("the API responded with status {0}")]
    Status(u16),
    /// No response began in time.
    #[error("no response within {0:?}")]
    Timeout(Duration),
    /// The list did not end in time.
    #[error("a list did not end within {0:?}")]
    ListTimeout(Duration),
    /// The list, or a line of a watch, is too long.
    #[error("a list or a line of a watch has more than {0} bytes")]
    TooLong(usize),
}
