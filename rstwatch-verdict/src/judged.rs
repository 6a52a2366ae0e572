//! What the stages hand out: an event, with what the daemon needs beside it and users do not see.

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
