//! The report: what was seen, who sent it, when it came, which timeouts do not fit, what to change first.
//!
//! Events are added up as they come ([`tally`], [`bursts`]); [`diagnosis`] draws the conclusions as data, [`text`] prints
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

pub(crate) use diagnosis::{Diagnosis, Frame};
pub(crate) use pressure::Pressure;
pub(crate) use text::report as write;

/// What is found while watching: sums, no events.
pub(crate) struct Findings {
    filter: Filter,
    tally: Tally,
    bounds: IdleTimeouts,
}

impl Findings {
    /// Nothing found yet; `destinations` bounds those whose idle timeouts are inferred.
    pub(crate) fn new(filter: Filter, destinations: usize) -> Self {
        Self { filter, tally: Tally::default(), bounds: IdleTimeouts::new(destinations) }
    }

    /// The conclusions.
    pub(crate) fn diagnosis(mut self, frame: Frame, counts: &KernelCounts, probes: &Probes) -> Diagnosis {
        Diagnosis::new(frame, &mut self.tally, &self.bounds, counts, probes)
    }

    /// Adds the idle gaps that the kernel side measured.
    pub(crate) fn absorb(&mut self, gaps: &[PeerGaps], now: Timestamp) {
        self.bounds.absorb(gaps, now);
    }

    /// Whether only some events were wanted.
    pub(crate) fn is_filtered(&self) -> bool {
        self.filter != Filter::default()
    }

    /// Adds an event up, if it is wanted.
    pub(crate) fn record(&mut self, judged: &Judged) {
        if !self.filter.admits(&judged.event) {
            return;
        }
        self.bounds.record(judged);
        // Where one end alone is asked for, the other end's event is not there to be counted.
        if judged.timing.repeats_sent && (self.filter.direction.is_some() || self.filter.peer.is_some()) {
            let mut alone = judged.clone();
            alone.timing.repeats_sent = false;
            return self.tally.take(&alone);
        }
        self.tally.take(judged);
    }

    /// What was found so far, in a few words.
    pub(crate) fn summary(&self) -> String {
        let most = self.tally.causes.iter().max_by_key(|(_, of)| of.resets);
        let most = most.map_or(String::new(), |(cause, _)| format!(", most of them {cause}"));
        match self.tally.resets() {
            0 => "no resets".to_owned(),
            n => count(n, "reset", "resets") + &most,
        }
    }
}

#[cfg(test)]
mod tests;
