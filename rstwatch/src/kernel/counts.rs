//! Exact counts of resets, as the kernel side keeps them.

use std::sync::Arc;

use rstwatch_verdict::cause::Direction;

/// `reason` of resets that the kernel did not show to the programs, only counted.
pub const MISSED: &str = "missed";

/// What the kernel side has counted since the start.
#[derive(Clone, Debug, Default)]
pub struct KernelCounts {
    /// Resets by direction and the name of the kernel's reason.
    pub resets: Vec<(Direction, Arc<str>, u64)>,
    /// Resets without a delivered event, by the stage that lost it.
    pub undelivered: Vec<(Direction, LossStage, u64)>,
    /// Sockets that found no room in the table of connections, or lost it to another owner's.
    pub untracked: u64,
}

/// Reads the exact counts from any thread; `None` if the kernel refuses.
pub type CountsHandle = Arc<dyn Fn() -> Option<KernelCounts> + Send + Sync>;

/// Where an event was lost on its way to the classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossStage {
    /// The kernel did not run the program: it was running on that CPU already.
    Missed,
    /// The ring buffer was full.
    RingFull,
    /// Events of its kind exceeded the configured rate.
    RateLimited,
    /// The record could not be read.
    Decode,
}

impl LossStage {
    /// Every stage, in the order of the flow.
    pub const ALL: [Self; 4] = [Self::Missed, Self::RateLimited, Self::RingFull, Self::Decode];

    /// The label's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::RingFull => "ring_full",
            Self::RateLimited => "rate_limited",
            Self::Decode => "decode",
        }
    }
}
