//! The report of a watch: causes, senders, timing, mismatched timeouts, and what to change first.
//!
//! Events are added up as they come (`tally`, `bursts`). `diagnosis` draws the conclusions, as data; `text` formats
//! them.

use jiff::Timestamp;

use crate::kernel::gaps::PeerGaps;
use crate::kernel::probe::Probes;
use crate::present::filter::Filter;
use crate::stats::aggregate::KernelCounts;
use crate::stats::idle_timeouts::IdleTimeouts;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::text::count;

mod bursts;
mod diagnosis;
mod pressure;
mod tally;
mod text;
mod top;

use tally::Tally;

pub(crate) use diagnosis::{Diagnosis, Watch};
pub(crate) use pressure::Pressure;
pub(crate) use text::report as write;

/// The findings of a watch: sums only, no events.
pub(crate) struct Findings {
    filter: Filter,
    tally: Tally,
    idle_timeouts: IdleTimeouts,
}

impl Findings {
    /// No findings yet. `destinations` is the maximum number of destinations with an inferred idle timeout.
    pub(crate) fn new(filter: Filter, destinations: usize) -> Self {
        Self { filter, tally: Tally::default(), idle_timeouts: IdleTimeouts::new(destinations) }
    }

    /// Draws the conclusions.
    pub(crate) fn diagnosis(mut self, watch: Watch, counts: &KernelCounts, probes: &Probes) -> Diagnosis {
        Diagnosis::new(watch, &mut self.tally, &self.idle_timeouts, counts, probes)
    }

    /// Adds the idle gaps that the kernel side measured.
    pub(crate) fn absorb(&mut self, gaps: &[PeerGaps], now: Timestamp) {
        self.idle_timeouts.absorb(gaps, now);
    }

    /// Whether a filter excludes some events.
    pub(crate) fn is_filtered(&self) -> bool {
        self.filter != Filter::default()
    }

    /// Adds an event, unless the filter excludes it.
    pub(crate) fn record(&mut self, judged: &Judged) {
        if !self.filter.admits(&judged.event) {
            return;
        }
        self.idle_timeouts.record(judged);
        // With a filter on one end, the event of the other end is excluded, so this one must count.
        if judged.timing.repeats_sent && (self.filter.direction.is_some() || self.filter.peer.is_some()) {
            let mut only = judged.clone();
            only.timing.repeats_sent = false;
            return self.tally.add(&only);
        }
        self.tally.add(judged);
    }

    /// The findings so far, in a few words.
    pub(crate) fn summary(&self) -> String {
        let most = self.tally.causes.iter().max_by_key(|(_, tally)| tally.resets);
        let most = most.map_or(String::new(), |(cause, _)| format!(", most of them {cause}"));
        match self.tally.resets() {
            0 => "no resets".to_owned(),
            n => count(n, "reset", "resets") + &most,
        }
    }
}

#[cfg(test)]
mod tests;
