//! One watch, for ever: list, follow, and begin again where that fails. It never gives up and never hurries.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use kube::runtime::watcher::{self, Event, ListSemantic, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::client::Source;
use super::failure::{Failure, Kind};
use super::guard::{Guard, Limits};
use super::health::Condition;

/// Who takes what is watched.
pub trait Sink: Send {
    /// What is watched.
    type Object;
    /// A list begins.
    fn begin(&mut self);
    /// It is there, or has changed.
    fn apply(&mut self, object: Self::Object, now: Instant);
    /// It is gone.
    fn delete(&mut self, object: Self::Object, now: Instant);
    /// The list was seen to its end: what was not in it is gone.
    fn complete(&mut self, now: Instant);
    /// Time goes on; called about once a second.
    fn expire(&mut self, now: Instant);
    /// How many are there.
    fn held(&self) -> usize;
}

/// How patient a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Of the answers.
    pub limits: Limits,
    /// First wait after an error; each further one doubles it, up to `longest`, and less of it by chance.
    pub shortest: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// After so long without error the next wait is short again.
    pub calm: Duration,
    /// How long a watch must go on after an error to count as well.
    pub settling: Duration,
    /// Between two looks at the time.
    pub tick: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            shortest: Duration::from_millis(800),
            longest: Duration::from_secs(30),
            calm: Duration::from_secs(60),
            settling: Duration::from_secs(2),
            tick: Duration::from_secs(1),
        }
    }
}

/// Objects in a page of a list.
pub const PAGE: u32 = 100;

/// Errors in a row after which the client and the list are made anew: certificates and addresses change.
const ANEW: u32 = 5;

/// One watch.
pub struct Watch<S> {
    /// How the API is reached.
    pub source: Source,
    /// What is asked for.
    pub config: watcher::Config,
    /// Who takes it.
    pub sink: S,
    /// How it fares.
    pub condition: Arc<Condition>,
    /// How patient it is.
    pub patience: Patience,
}

impl<S> Watch<S>
where
    S: Sink,
    S::Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Watches until it is dropped.
    pub async fn run(mut self) {
        let mut waits = Waits::default();
        let guard = Guard { limits: self.patience.limits, condition: Arc::clone(&self.condition) };
        loop {
            match self.source.client(&guard).await {
                Ok(client) => self.follow(Api::all(client), &mut waits).await,
                Err(failure) => self.fail(&failure, &mut waits).await,
            }
        }
    }

    /// Until everything is to be made anew.
    async fn follow(&mut self, api: Api<S::Object>, waits: &mut Waits) {
        let mut events = pin!(watcher(api, self.config.clone()));
        let mut ticks = tokio::time::interval(self.patience.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = ticks.tick() => {
                    self.tick();
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => {
                    let failure = Failure::from(&error);
                    self.fail(&failure, waits).await;
                    // kube's watcher would ask for the forgotten version for ever where the status says so, and go on behind what
                    // it cannot read, which would be lost.
                    let missed = matches!(failure.kind, Kind::Gone | Kind::Decode);
                    let listing = matches!(error, watcher::Error::InitialListFailed(_));
                    if listing && failure.kind == Kind::Decode {
                        // The cache of an API server knows no pages, and this one's answer may be too long.
                        self.config = self.config.clone().list_semantic(ListSemantic::MostRecent).page_size(PAGE);
                    }
                    if missed || listing || waits.in_a_row.is_multiple_of(ANEW) {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    fn take(&mut self, event: Event<S::Object>) {
        let now = Instant::now();
        match event {
            Event::Init => self.sink.begin(),
            Event::InitApply(object) | Event::Apply(object) => self.sink.apply(object, now),
            Event::Delete(object) => self.sink.delete(object, now),
            Event::InitDone => {
                self.sink.complete(now);
                self.condition.complete(self.sink.held(), now);
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.sink.expire(now);
        self.condition.settle(|| self.sink.held(), now);
    }

    /// Tells, and waits before the next attempt.
    async fn fail(&mut self, failure: &Failure, waits: &mut Waits) {
        let well = self.condition.failed(failure, Instant::now());
        if well >= self.patience.calm {
            *waits = Waits::default();
        }
        tokio::time::sleep(waits.next(&self.patience)).await;
        self.sink.expire(Instant::now());
    }
}

/// The waits after errors.
#[derive(Debug, Default)]
struct Waits {
    in_a_row: u32,
}

impl Waits {
    /// Between half and all of twice the last one: a cluster's nodes must not come back as one.
    fn next(&mut self, Patience { shortest, longest, .. }: &Patience) -> Duration {
        let full = shortest.saturating_mul(1 << self.in_a_row.min(16)).min(*longest);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let chance = RandomState::new().build_hasher().finish() % 1_000;
        full / 2 + full.mul_f64(f64::from(u32::try_from(chance).unwrap_or(0)) / 2_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let patience = Patience::default();
        let mut waits = Waits::default();
        let all: Vec<_> = (0..40).map(|_| waits.next(&patience)).collect();
        assert!((Duration::from_millis(400)..=Duration::from_millis(800)).contains(&all[0]), "{all:?}");
        assert!((Duration::from_millis(1_600)..=Duration::from_millis(3_200)).contains(&all[2]), "{all:?}");
        assert!(all[10..].iter().all(|wait| (15_000..=30_000).contains(&wait.as_millis())), "{all:?}");
        let mut late = all[10..].to_vec();
        late.sort_unstable();
        late.dedup();
        assert!(late.len() > 10, "{all:?}");
    }
}
