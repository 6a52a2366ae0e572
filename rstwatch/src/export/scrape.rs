//! The metrics' text, written once for all who wait for it.
//!
//! Whoever asks while a text is being written gets the next one, together with all others who ask meanwhile. So no text is
//! older than its request, and a crowd costs no more than two scrapes in a row.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::{OnceCell, Semaphore};

/// One text, and those who wait for it.
type Batch = OnceCell<Option<Bytes>>;

/// The text that is written next, if somebody waits for it already.
pub(super) struct Scrapes {
    turn: Semaphore,
    next: Mutex<Option<Arc<Batch>>>,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), next: Mutex::default() }
    }
}

impl Scrapes {
    /// A text that was begun after this was called; none if it cannot be written.
    pub(super) async fn text<F>(&self, write: impl FnOnce() -> F) -> Option<Bytes>
    where
        F: Future<Output = Option<Bytes>>,
    {
        let batch = Arc::clone(self.next().get_or_insert_default());
        // Where the first has gone away, another of the batch takes over.
        let text = batch.get_or_init(|| async {
            let _turn = self.turn.acquire().await;
            self.close(&batch);
            write().await
        });
        text.await.clone()
    }

    /// Who comes from now on is too late for this text.
    fn close(&self, batch: &Arc<Batch>) {
        self.next().take_if(|next| Arc::ptr_eq(next, batch));
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Arc<Batch>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_crowd_shares_a_text_that_is_never_older_than_its_request() {
        let (scrapes, written, go) =
            (Arc::new(Scrapes::default()), Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (scrapes, written, go) = (Arc::clone(&scrapes), Arc::clone(&written), Arc::clone(&go));
            tokio::spawn(async move {
                let write = || async {
                    let text = written.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    Some(Bytes::from(text.to_string()))
                };
                scrapes.text(write).await
            })
        };
        let first = ask();
        while written.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        // The first text is under way: all these wait for the second.
        let crowd: Vec<_> = (0..100).map(|_| ask()).collect();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        assert_eq!(first.await.expect("ended").as_deref(), Some(&b"0"[..]));
        while written.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        // Who begins it goes away: another of them does it.
        let mut crowd = crowd.into_iter();
        crowd.by_ref().take(50).for_each(|it| it.abort());
        while written.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        for it in crowd {
            assert_eq!(it.await.expect("ended").as_deref(), Some(&b"2"[..]));
        }
    }
}
