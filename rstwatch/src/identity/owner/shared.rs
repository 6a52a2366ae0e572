//! What the handles and the worker thread share: the cache, the queue of requests, and the signals in both directions.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::Notify;

use super::cache::{Cache, Resolution};
use rstwatch_verdict::identity::Identity;

/// Most queued requests. Beyond it an owner is not looked up, and its event keeps only its process.
const MAX_REQUESTS: usize = 1024;

/// The state shared with the worker thread.
pub(super) struct Shared {
    pub(super) cache: Arc<Cache>,
    requests: Mutex<VecDeque<Identity>>,
    /// Wakes the worker.
    pub(super) wake: OwnedFd,
    pub(super) stop: AtomicBool,
    /// Wakes the event loop after a batch.
    changed: Notify,
    /// Wakes blocking waiters after a batch; counts the batches.
    batches: (Mutex<u64>, Condvar),
    /// The same count, read without a lock.
    generation: AtomicU64,
}

impl Shared {
    pub(super) fn new(cache: Arc<Cache>) -> std::io::Result<Self> {
        Ok(Self {
            cache,
            requests: Mutex::default(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stop: AtomicBool::new(false),
            changed: Notify::new(),
            batches: (Mutex::new(0), Condvar::new()),
            generation: AtomicU64::new(0),
        })
    }

    /// Ends the worker.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Fails only if 2^64 - 1 wake-ups are pending.
        _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Queues a lookup, unless it is queued already or the queue is full.
    pub(super) fn request(&self, key: &Identity) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < MAX_REQUESTS && !requests.contains(key) {
            requests.push_back(*key);
            drop(requests);
            self.wake();
        }
    }

    /// Empties the queue.
    pub(super) fn take_requests(&self) -> VecDeque<Identity> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes all waiters: the worker has finished a batch.
    pub(super) fn notify(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        *self.batches.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.batches.1.notify_all();
        self.changed.notify_one();
    }

    /// Resolves after the worker has finished a batch.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The number of finished batches.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Blocks until none of the keys is pending, or the timeout has passed.
    pub(super) fn wait_for(&self, keys: &[Identity], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut pending = keys.to_vec();
        let (lock, changed) = &self.batches;
        loop {
            let before = *lock.lock().unwrap_or_else(PoisonError::into_inner);
            pending.retain(|key| self.cache.resolve(key) == Resolution::Pending);
            let left = deadline.saturating_duration_since(Instant::now());
            if pending.is_empty() || left.is_zero() {
                return;
            }
            // The queue may have been too short for all of them.
            pending.iter().for_each(|key| self.request(key));
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            _ = changed.wait_timeout_while(guard, left, |batches| *batches == before);
        }
    }
}
