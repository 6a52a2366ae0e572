//! The result of the stages: an event, and the data about it that the daemon needs but users do not see.

use crate::event::Event;
use crate::identity::Identity;
use crate::timing::Timing;

/// One classified reset.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What users see.
    pub event: Event,
    /// When in the life of its connection the reset came, for reports and idle timeouts.
    pub timing: Timing,
    /// The ids by which the owner is looked up.
    pub identity: Identity,
}
