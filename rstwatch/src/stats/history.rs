//! The most recent events, and a feed of new events for followers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use rstwatch_verdict::judged::Judged;

/// Number of events kept.
pub const CAPACITY: usize = 1_000;

/// Number of events that a follower may fall behind before it loses some.
const FEED: usize = 1_024;

/// A ring of recent events. Pushing never waits: a slow follower loses events, which are counted.
#[derive(Debug)]
pub struct History {
    recent: Mutex<VecDeque<Arc<Judged>>>,
    /// None: closed.
    feed: Mutex<Option<broadcast::Sender<Arc<Judged>>>>,
    missed: Arc<AtomicU64>,
}

impl Default for History {
    fn default() -> Self {
        let feed = Mutex::new(Some(broadcast::Sender::new(FEED)));
        Self { recent: Mutex::default(), feed, missed: Arc::default() }
    }
}

impl History {
    /// Keeps an event and hands it to the followers.
    pub fn push(&self, event: Arc<Judged>) {
        let mut recent = lock(&self.recent);
        if recent.len() == CAPACITY {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&event));
        drop(recent);
        if let Some(feed) = lock(&self.feed).as_ref() {
            // An error means that there is no follower.
            _ = feed.send(event);
        }
    }

    /// The kept events, oldest first.
    pub fn recent(&self) -> Vec<Arc<Judged>> {
        lock(&self.recent).iter().cloned().collect()
    }

    /// Events from now on; none after [`close`](Self::close).
    pub fn follow(&self) -> Follower {
        let feed = lock(&self.feed).as_ref().map(broadcast::Sender::subscribe);
        Follower { feed, missed: Arc::clone(&self.missed) }
    }

    /// Events lost by slow followers. The totals include them.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Ends every follower once it has read the events already sent.
    pub fn close(&self) {
        lock(&self.feed).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads events as they come.
#[derive(Debug)]
pub struct Follower {
    feed: Option<broadcast::Receiver<Arc<Judged>>>,
    missed: Arc<AtomicU64>,
}

impl Follower {
    /// The next event; none once the history is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Judged>> {
        let feed = self.feed.as_mut()?;
        loop {
            match feed.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(n)) => _ = self.missed.fetch_add(n, Ordering::Relaxed),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstwatch_verdict::testing::sample;

    fn event(n: u32) -> Arc<Judged> {
        let mut event = sample::idle_reaped();
        event.netns = n;
        Arc::new(sample::judged(event))
    }

    #[test]
    fn only_the_most_recent_are_kept() {
        let history = History::default();
        (0..1_500).for_each(|n| history.push(event(n)));
        let kept: Vec<_> = history.recent().iter().map(|judged| judged.event.netns).collect();
        assert_eq!(kept, (500..1_500).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_slow_follower_loses_the_oldest_events_and_they_are_counted() {
        let history = History::default();
        let mut follower = history.follow();
        (0..3_000).for_each(|n| history.push(event(n)));
        let first = follower.next().await.map(|judged| judged.event.netns);
        let missed = history.missed();
        assert_eq!(first.map(u64::from), Some(missed), "it continues after the gap");
        assert!(missed >= 1_000, "{missed}");
    }

    #[tokio::test]
    async fn closing_ends_followers_after_their_last_event() {
        let history = History::default();
        let mut follower = history.follow();
        history.push(event(7));
        history.close();
        history.push(event(8));
        assert_eq!(follower.next().await.map(|judged| judged.event.netns), Some(7));
        assert!(follower.next().await.is_none());
        assert!(history.follow().next().await.is_none());
        assert_eq!(history.recent().len(), 2);
    }
}
