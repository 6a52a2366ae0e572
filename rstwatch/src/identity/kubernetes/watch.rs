//! One watch: reads the list, follows the changes, and starts over after an error. Retries forever, with backoff.

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
use super::health::WatchHealth;
use super::limits::{LimitLayer, ResponseLimits};

/// Receives the objects of a watch.
pub trait Sink: Send {
    /// The watched type.
    type Object;
    /// A list starts.
    fn begin_list(&mut self);
    /// An object was added or has changed.
    fn apply(&mut self, object: Self::Object, now: Instant);
    /// An object was deleted.
    fn delete(&mut self, object: Self::Object, now: Instant);
    /// The list is complete: objects that were not in it have been deleted.
    fn complete_list(&mut self, now: Instant);
    /// Evicts expired objects; called about once per second.
    fn expire(&mut self, now: Instant);
    /// Number of existing objects.
    fn count(&self) -> usize;
}

/// Timeouts and backoff of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchTimeouts {
    /// The limits of responses.
    pub limits: ResponseLimits,
    /// The first backoff after an error. It doubles with each further error up to `max_backoff`, minus a random part.
    pub min_backoff: Duration,
    /// The longest backoff.
    pub max_backoff: Duration,
    /// The backoff starts over after this time without errors.
    pub backoff_reset: Duration,
    /// How long a watch must last after an error to count as healthy.
    pub settling: Duration,
    /// Interval at which expiry and health are checked.
    pub tick: Duration,
}

impl Default for WatchTimeouts {
    fn default() -> Self {
        Self {
            limits: ResponseLimits::default(),
            min_backoff: Duration::from_millis(800),
            max_backoff: Duration::from_secs(30),
            backoff_reset: Duration::from_secs(60),
            settling: Duration::from_secs(2),
            tick: Duration::from_secs(1),
        }
    }
}

/// Objects per page of a list.
pub const PAGE_SIZE: u32 = 100;

/// Consecutive errors after which the client is rebuilt and the list read again: certificates and addresses may have changed.
const RESTART_AFTER: u32 = 5;

/// One watch.
pub struct Watch<S> {
    /// Where the address and the credentials come from.
    pub source: Source,
    /// What to list and watch.
    pub config: watcher::Config,
    /// Receives the objects.
    pub sink: S,
    /// The state of the watch.
    pub health: Arc<WatchHealth>,
    /// Timeouts and backoff.
    pub timeouts: WatchTimeouts,
}

impl<S> Watch<S>
where
    S: Sink,
    S::Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Watches until it is dropped.
    pub async fn run(mut self) {
        let mut backoff = ErrorBackoff::default();
        let layer = LimitLayer { limits: self.timeouts.limits, health: Arc::clone(&self.health) };
        loop {
            match self.source.client(&layer).await {
                Ok(client) => self.follow(Api::all(client), &mut backoff).await,
                Err(failure) => self.fail(&failure, &mut backoff).await,
            }
        }
    }

    /// Follows the changes until the client must be rebuilt.
    async fn follow(&mut self, api: Api<S::Object>, backoff: &mut ErrorBackoff) {
        let mut events = pin!(watcher(api, self.config.clone()));
        let mut ticks = tokio::time::interval(self.timeouts.tick);
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
                Some(Ok(event)) => self.apply(event),
                Some(Err(error)) => {
                    let failure = Failure::from(&error);
                    self.fail(&failure, backoff).await;
                    // After status 410, kube's watcher would request the expired version forever. After an unreadable event it
                    // would continue and lose that event.
                    let missed = matches!(failure.kind, Kind::Gone | Kind::Decode);
                    let listing = matches!(error, watcher::Error::InitialListFailed(_));
                    if listing && failure.kind == Kind::Decode {
                        // The list may have been too long. The API server's cache does not support pages, so read from etcd.
                        self.config = self.config.clone().list_semantic(ListSemantic::MostRecent).page_size(PAGE_SIZE);
                    }
                    if missed || listing || backoff.errors.is_multiple_of(RESTART_AFTER) {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    fn apply(&mut self, event: Event<S::Object>) {
        let now = Instant::now();
        match event {
            Event::Init => self.sink.begin_list(),
            Event::InitApply(object) | Event::Apply(object) => self.sink.apply(object, now),
            Event::Delete(object) => self.sink.delete(object, now),
            Event::InitDone => {
                self.sink.complete_list(now);
                self.health.list_completed(self.sink.count(), now);
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.sink.expire(now);
        self.health.settle(|| self.sink.count(), now);
    }

    /// Reports the error, and waits for the backoff.
    async fn fail(&mut self, failure: &Failure, backoff: &mut ErrorBackoff) {
        let healthy = self.health.failed(failure, Instant::now());
        if healthy >= self.timeouts.backoff_reset {
            *backoff = ErrorBackoff::default();
        }
        tokio::time::sleep(backoff.next(&self.timeouts)).await;
        self.sink.expire(Instant::now());
    }
}

/// The backoff after errors.
#[derive(Debug, Default)]
struct ErrorBackoff {
    /// Consecutive errors.
    errors: u32,
}

impl ErrorBackoff {
    /// The next backoff: a random time between half and all of the doubled limit, so that nodes do not retry in step.
    fn next(&mut self, WatchTimeouts { min_backoff, max_backoff, .. }: &WatchTimeouts) -> Duration {
        let full = min_backoff.saturating_mul(1 << self.errors.min(16)).min(*max_backoff);
        self.errors = self.errors.saturating_add(1);
        let random = RandomState::new().build_hasher().finish() % 1_000;
        full / 2 + full.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 2_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_grows_to_a_limit_and_is_random() {
        let timeouts = WatchTimeouts::default();
        let mut backoff = ErrorBackoff::default();
        let all: Vec<_> = (0..40).map(|_| backoff.next(&timeouts)).collect();
        assert!((Duration::from_millis(400)..=Duration::from_millis(800)).contains(&all[0]), "{all:?}");
        assert!((Duration::from_millis(1_600)..=Duration::from_millis(3_200)).contains(&all[2]), "{all:?}");
        assert!(all[10..].iter().all(|backoff| (15_000..=30_000).contains(&backoff.as_millis())), "{all:?}");
        let mut late = all[10..].to_vec();
        late.sort_unstable();
        late.dedup();
        assert!(late.len() > 10, "{all:?}");
    }
}
