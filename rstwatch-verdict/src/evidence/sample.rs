//! What one side sent last, after a silence of the other side: the last sample of the periodic scan tells a closing message
//! from a response only if it was taken within that silence.

use rstwatch_common::record::Sampled;

use super::{Context, GAP};

/// Maximum segments of a closing message: the protocol's own, and that of its encryption.
pub(super) const MAX_CLOSING_SEGMENTS: u16 = 2;

/// What one side sent after the last sample, until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastMessages {
    /// The response to a request that was open when the sample was taken.
    Response,
    /// One or two segments, while no request was seen open.
    Few,
    /// More, at intervals below [`GAP`].
    Stream,
    /// The sample does not show it: there is none, it precedes the other side's last message, nothing came after it, or so
    /// much time passed around it that an idle period may have come between.
    Unknown,
}

/// The last sample, seen from the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Jiffies from the sample until the end; `None` without one.
    pub age: Option<u32>,
    /// Whether a request was open when it was taken.
    pub request_open: bool,
    /// How long the connection had been quiet then, in jiffies.
    pub quiet: u32,
    /// Segments with payload since, modulo 2^16.
    pub segments: u16,
}

impl Sample {
    /// Whether it was taken after a message that came `age` jiffies before the end. Within one jiffy the order is unknown.
    pub(super) fn follows(&self, age: u32) -> bool {
        self.age.is_some_and(|sampled| sampled < age)
    }

    /// Whether a request was open after a message that came `age` jiffies before the end.
    pub(super) fn is_open_after(&self, age: u32) -> bool {
        self.request_open && self.follows(age)
    }

    /// What came after it, where the other side sent its last message `silence` jiffies before the end.
    pub(super) fn last_messages(&self, silence: u32, context: &Context) -> LastMessages {
        let short = |jiffies| context.jiffies(jiffies).is_some_and(|length| length < GAP);
        let recent = self.age.is_some_and(short);
        if self.segments == 0 || !self.follows(silence) {
            LastMessages::Unknown
        } else if self.request_open && (recent || self.segments == 1) {
            LastMessages::Response
        } else if !self.request_open && self.segments <= MAX_CLOSING_SEGMENTS {
            LastMessages::Few
        } else if recent && short(self.quiet) {
            LastMessages::Stream
        } else {
            LastMessages::Unknown
        }
    }
}

/// Jiffies from the last sample until the end, which came `quiet` jiffies after the payload that was the last one at that
/// sample. `None` without a sample, or if the end came while it was being written.
pub(super) fn age(sampled: &Sampled, quiet: u32) -> Option<u32> {
    (quiet != 0).then(|| quiet.checked_sub(quiet_at(sampled))).flatten()
}

/// Jiffies from the last payload until the last sample.
pub(super) fn quiet_at(sampled: &Sampled) -> u32 {
    sampled.jiffies.wrapping_sub(sampled.active)
}
