//! Shares the text of the metrics among concurrent requests.
//!
//! All requests that arrive while a text is being written share the next one. So no text is older than its request, and any
//! number of concurrent requests costs at most two scrapes in a row.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::{OnceCell, Semaphore};

/// The text for a batch of requests: empty until it is written.
type Batch = OnceCell<Option<Bytes>>;

/// Writes the texts of one format, one at a time.
pub(super) struct Scrapes {
    /// Held while a text is being written.
    turn: Arc<Semaphore>,
    /// The batch to be written next, if requests wait for it.
    next: Mutex<Option<Arc<Batch>>>,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), next: Mutex::default() }
    }
}

impl Scrapes {
    /// A text whose writing began after this call; `None` if it cannot be written. Texts are long, so a blocking thread writes
    /// them.
    pub(super) async fn text(&self, write: impl FnOnce() -> Option<Bytes> + Send + 'static) -> Option<Bytes> {
        let batch = Arc::clone(self.next().get_or_insert_default());
        // If the request that initializes the batch is dropped, another request of the batch takes over.
        let text = batch.get_or_init(|| async {
            let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
            self.close(&batch);
            // The writer holds the turn, because it goes on even if the request is dropped.
            let writer = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                write()
            });
            writer.await.ok().flatten()
        });
        text.await.clone()
    }

    /// Closes the batch: later requests join the next one.
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
    use std::sync::mpsc::{self, Sender};

    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Scrapes whose writers block until they are released.
    #[derive(Default)]
    struct BlockedScrapes {
        scrapes: Arc<Scrapes>,
        begun: Arc<AtomicU64>,
    }

    impl BlockedScrapes {
        /// Requests a text. Dropping the sender releases the writer.
        fn request(&self) -> (JoinHandle<Option<Bytes>>, Sender<()>) {
            let (scrapes, begun) = (Arc::clone(&self.scrapes), Arc::clone(&self.begun));
            let (release, released) = mpsc::channel::<()>();
            let write = move || {
                let text = begun.fetch_add(1, Ordering::SeqCst);
                _ = released.recv();
                Some(Bytes::from(text.to_string()))
            };
            (tokio::spawn(async move { scrapes.text(write).await }), release)
        }

        /// Waits until this many texts have been begun.
        async fn wait_begun(&self, count: u64) {
            while self.begun.load(Ordering::SeqCst) < count {
                yield_now().await;
            }
        }

        /// Lets all tasks run until they block.
        async fn settle(&self) {
            for _ in 0..1_000 {
                yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn concurrent_requests_share_a_text_that_is_not_older_than_any() {
        let scrapes = BlockedScrapes::default();
        let (first, release) = scrapes.request();
        scrapes.wait_begun(1).await;
        // The first text is being written: these requests wait for the second.
        let mut waiting: Vec<_> = (0..100).map(|_| scrapes.request()).collect();
        scrapes.settle().await;
        drop(release);
        assert_eq!(first.await.expect("ended").as_deref(), Some(&b"0"[..]));
        scrapes.wait_begun(2).await;
        // The requests that initialized the batch are dropped: another request takes over.
        let rest = waiting.split_off(50);
        waiting.iter().for_each(|(request, _)| request.abort());
        drop(waiting);
        scrapes.wait_begun(3).await;
        for (request, release) in rest {
            drop(release);
            assert_eq!(request.await.expect("ended").as_deref(), Some(&b"2"[..]));
        }
    }

    #[tokio::test]
    async fn a_writer_that_outlives_its_request_keeps_the_turn() {
        let scrapes = BlockedScrapes::default();
        let (first, release) = scrapes.request();
        scrapes.wait_begun(1).await;
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        let others: Vec<_> = (0..10)
            .map(|_| {
                let (other, release) = scrapes.request();
                drop(release);
                other
            })
            .collect();
        scrapes.settle().await;
        assert_eq!(scrapes.begun.load(Ordering::SeqCst), 1, "one text is written at a time");
        drop(release);
        for other in others {
            assert_eq!(other.await.expect("ended").as_deref(), Some(&b"1"[..]));
        }
    }
}
