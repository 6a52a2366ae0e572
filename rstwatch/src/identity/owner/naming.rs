//! Names the owner of each event, and is the only place that decides when the name is final.
//!
//! An event with a cached owner leaves at once. An event with a pending lookup, for example of a cgroup created just now, waits
//! for that lookup: at most 100 ms, and a bounded number at a time. Other events may overtake it, as sent resets overtake
//! received ones that are held for their sender; every event carries its own time. Nothing waits for the Kubernetes API.

use std::collections::VecDeque;
use std::time::Duration;

use super::owners::Owners;
use rstwatch_verdict::judged::Judged;

/// Longest wait of an event for its owner.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(100);
/// Most waiting events; beyond it the oldest leaves as it is.
const MAX_WAITING: usize = 1024;

/// Names events, and keeps those with pending lookups.
#[derive(Debug, Default)]
pub struct Naming {
    owners: Option<Owners>,
    /// Events with pending lookups, and the deadline of each (monotonic nanoseconds). Ordered by deadline.
    waiting: VecDeque<(u64, Box<Judged>)>,
    /// Named events that were waiting.
    done: VecDeque<Box<Judged>>,
    /// The worker's generation at the last retry.
    generation: u64,
}

impl Naming {
    /// Names events with these owners. The default names none, so events show only their processes.
    pub fn new(owners: Owners) -> Self {
        Self { owners: Some(owners), ..Self::default() }
    }

    /// Names an event, or keeps it if its lookup is pending. Returns an event that may leave. Reads the monotonic time only
    /// for an event that it keeps.
    pub fn take(&mut self, mut judged: Box<Judged>, now_ns: impl FnOnce() -> u64) -> Option<Box<Judged>> {
        let Some(owners) = self.owners.as_ref().filter(|_| !judged.identity.is_empty()) else { return Some(judged) };
        let generation = owners.shared().generation();
        if let Some((workload, outcome)) = owners.name(&judged.identity, judged.event.process.as_ref()) {
            owners.count(outcome);
            judged.event.workload = workload;
            return Some(judged);
        }
        if self.waiting.is_empty() {
            self.generation = generation;
        }
        self.waiting.push_back((now_ns() + nanos(LOOKUP_TIMEOUT), judged));
        if self.waiting.len() <= MAX_WAITING {
            return None;
        }
        let oldest = self.waiting.pop_front()?;
        Some(self.finalize(oldest))
    }

    /// Whether events are waiting or can be popped.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.done.is_empty()
    }

    /// An event whose lookup is done or whose deadline has passed at this monotonic time.
    pub fn pop(&mut self, now_ns: u64) -> Option<Box<Judged>> {
        if let Some(judged) = self.done.pop_front() {
            return Some(judged);
        }
        self.retry();
        if self.waiting.front().is_some_and(|(deadline, _)| *deadline <= now_ns) {
            let overdue = self.waiting.pop_front()?;
            return Some(self.finalize(overdue));
        }
        self.done.pop_front()
    }

    /// Time until the next deadline.
    pub fn until_deadline(&self, now_ns: u64) -> Option<Duration> {
        self.waiting.front().map(|(deadline, _)| Duration::from_nanos(deadline.saturating_sub(now_ns)))
    }

    /// Resolves when lookups have finished; never, if there are no owners.
    pub async fn changed(&self) {
        match &self.owners {
            Some(owners) => owners.shared().changed().await,
            None => std::future::pending().await,
        }
    }

    /// Returns all waiting events after a last wait of at most 100 ms.
    pub fn finish(&mut self) -> Vec<Box<Judged>> {
        if let Some(owners) = &self.owners {
            let keys: Vec<_> = self.waiting.iter().map(|(_, judged)| judged.identity).collect();
            owners.shared().wait_for(&keys, LOOKUP_TIMEOUT);
        }
        let mut all: Vec<_> = std::mem::take(&mut self.done).into();
        all.extend(std::mem::take(&mut self.waiting).into_iter().map(|waiting| self.finalize(waiting)));
        all
    }

    /// Names the waiting events whose lookups are done. Does nothing until the worker has finished another batch.
    fn retry(&mut self) {
        let Some(owners) = self.owners.as_ref().filter(|_| !self.waiting.is_empty()) else { return };
        let generation = owners.shared().generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        for (deadline, mut judged) in std::mem::take(&mut self.waiting) {
            match owners.name(&judged.identity, judged.event.process.as_ref()) {
                Some((workload, outcome)) => {
                    owners.count(outcome);
                    judged.event.workload = workload;
                    self.done.push_back(judged);
                }
                None => self.waiting.push_back((deadline, judged)),
            }
        }
    }

    /// Names an event with what is known now; its owner is final.
    fn finalize(&self, (_, mut judged): (u64, Box<Judged>)) -> Box<Judged> {
        if let Some(owners) = &self.owners {
            let (workload, outcome) = owners.name_now(&judged.identity, judged.event.process.as_ref());
            owners.count(outcome);
            judged.event.workload = workload;
        }
        judged
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
