//! The one place where it is decided when an event's owner stands for good.
//!
//! An event whose owner is known leaves at once. One whose owner nobody has looked up yet, as of a cgroup that was made just
//! now, waits for that local look: a tenth of a second at most, and few at once. Others pass it meanwhile, as sent resets pass
//! received ones that wait for their sender: an event bears its own time. The Kubernetes API is never waited for.

use std::collections::VecDeque;
use std::time::Duration;

use super::owners::Owners;
use rstwatch_verdict::judged::Judged;

/// An event waits so long for its owner.
const PATIENCE: Duration = Duration::from_millis(100);
/// So many wait at once; beyond them the oldest leave as they are.
const MOST: usize = 1024;

/// Events on their way out, named where their owners are known.
#[derive(Debug, Default)]
pub struct Naming {
    owners: Option<Owners>,
    /// With the time (monotonic nanoseconds) at which each leaves, named or not. In that order.
    waiting: VecDeque<(u64, Judged)>,
    /// Done waiting.
    done: VecDeque<Judged>,
    /// The thread's answers that those who wait have seen.
    seen: u64,
}

impl Naming {
    /// Named by these. By default nobody names owners, and events know their processes alone.
    pub fn by(owners: Owners) -> Self {
        Self { owners: Some(owners), ..Self::default() }
    }

    /// Names an event; `None`: it waits.
    pub fn take(&mut self, mut judged: Judged, now_ns: u64) -> Option<Judged> {
        let Some(owners) = self.owners.as_ref().filter(|_| !judged.identity.is_empty()) else { return Some(judged) };
        let answered = owners.answered();
        if let Some((workload, outcome)) = owners.name(&judged.identity, judged.event.process.as_ref()) {
            owners.count(outcome);
            judged.event.workload = workload;
            return Some(judged);
        }
        if self.waiting.is_empty() {
            self.seen = answered;
        }
        self.waiting.push_back((now_ns + nanos(PATIENCE), judged));
        if self.waiting.len() <= MOST {
            return None;
        }
        let first = self.waiting.pop_front()?;
        Some(self.freeze(first))
    }

    /// Whether an event waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.done.is_empty()
    }

    /// An event that waits no longer, at this monotonic time.
    pub fn pop(&mut self, now_ns: u64) -> Option<Judged> {
        if let Some(event) = self.done.pop_front() {
            return Some(event);
        }
        self.look_again();
        if self.waiting.front().is_some_and(|(until, _)| *until <= now_ns) {
            let late = self.waiting.pop_front()?;
            return Some(self.freeze(late));
        }
        self.done.pop_front()
    }

    /// Until an event leaves, answered or not.
    pub fn until(&self, now_ns: u64) -> Option<Duration> {
        self.waiting.front().map(|(until, _)| Duration::from_nanos(until.saturating_sub(now_ns)))
    }

    /// Resolves when an owner may have become known; never, where nobody asks.
    pub async fn news(&self) {
        match &self.owners {
            Some(owners) => owners.news().await,
            None => std::future::pending().await,
        }
    }

    /// All that wait, named as far as that is possible within one more wait.
    pub fn finish(&mut self) -> Vec<Judged> {
        if let Some(owners) = &self.owners {
            let keys: Vec<_> = self.waiting.iter().map(|(_, judged)| judged.identity).collect();
            owners.await_answers(&keys, PATIENCE);
        }
        let mut all: Vec<_> = std::mem::take(&mut self.done).into();
        all.extend(std::mem::take(&mut self.waiting).into_iter().map(|late| self.freeze(late)));
        all
    }

    /// Moves those that are known by now, once for each batch of answers.
    fn look_again(&mut self) {
        let Some(owners) = self.owners.as_ref().filter(|_| !self.waiting.is_empty()) else { return };
        let answered = owners.answered();
        if answered == self.seen {
            return;
        }
        self.seen = answered;
        for (until, mut judged) in std::mem::take(&mut self.waiting) {
            match owners.name(&judged.identity, judged.event.process.as_ref()) {
                Some((workload, outcome)) => {
                    owners.count(outcome);
                    judged.event.workload = workload;
                    self.done.push_back(judged);
                }
                None => self.waiting.push_back((until, judged)),
            }
        }
    }

    /// Its owner stands from here on.
    fn freeze(&self, (_, mut judged): (u64, Judged)) -> Judged {
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
