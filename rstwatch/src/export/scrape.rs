//! The metrics' text, written once for all who wait for it.
//!
//! Whoever asks while a text is being written gets the next one, together with all others who ask meanwhile. So no text is
//! older than its request, and a crowd costs no more than two scrapes in a row.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::{OnceCell, Semaphore};

/// One text, and those who wait for it.
type Batch = OnceCell<Option<Bytes>>;

/// The text that is written next, if somebody waits for it already.
pub(super) struct Scrapes {
    turn: Arc<Semaphore>,
    next: Mutex<Option<Arc<Batch>>>,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), next: Mutex::default() }
    }
}

impl Scrapes {
    /// A text that was begun after this was called; none if it cannot be written. Texts are long: it is written on a thread
    /// that serves nothing else.
    pub(super) async fn text(&self, write: impl FnOnce() -> Option<Bytes> + Send + 'static) -> Option<Bytes> {
        let batch = Arc::clone(self.next().get_or_insert_default());
        // Where the first has gone away, another of the batch takes over.
        let text = batch.get_or_init(|| async {
            let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
            self.close(&batch);
            // It is the writer's turn, not the waiter's: where that one goes away, the writer goes on.
            let writer = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                write()
            });
            writer.await.ok().flatten()
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
    use std::sync::mpsc::{self, Sender};

    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Writers that end when they are told.
    #[derive(Default)]
    struct Asked {
        scrapes: Arc<Scrapes>,
        written: Arc<AtomicU64>,
    }

    impl Asked {
        fn ask(&self) -> (JoinHandle<Option<Bytes>>, Sender<()>) {
            let (scrapes, written) = (Arc::clone(&self.scrapes), Arc::clone(&self.written));
            let (go, told) = mpsc::channel::<()>();
            let write = move || {
                let text = written.fetch_add(1, Ordering::SeqCst);
                _ = told.recv();
                Some(Bytes::from(text.to_string()))
            };
            (tokio::spawn(async move { scrapes.text(write).await }), go)
        }

        async fn begun(&self, count: u64) {
            while self.written.load(Ordering::SeqCst) < count {
                yield_now().await;
            }
        }

        /// Lets everything happen that can.
        async fn settle(&self) {
            for _ in 0..1_000 {
                yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_crowd_shares_a_text_that_is_never_older_than_its_request() {
        let asked = Asked::default();
        let (first, go) = asked.ask();
        asked.begun(1).await;
        // The first text is under way: all these wait for the second.
        let mut crowd: Vec<_> = (0..100).map(|_| asked.ask()).collect();
        asked.settle().await;
        drop(go);
        assert_eq!(first.await.expect("ended").as_deref(), Some(&b"0"[..]));
        asked.begun(2).await;
        // Who began it goes away: another of them does it.
        let rest = crowd.split_off(50);
        crowd.iter().for_each(|(it, _)| it.abort());
        drop(crowd);
        asked.begun(3).await;
        for (it, go) in rest {
            drop(go);
            assert_eq!(it.await.expect("ended").as_deref(), Some(&b"2"[..]));
        }
    }

    #[tokio::test]
    async fn a_text_that_outlives_who_asked_keeps_its_turn() {
        let asked = Asked::default();
        let (first, go) = asked.ask();
        asked.begun(1).await;
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        let others: Vec<_> = (0..10)
            .map(|_| {
                let (other, go) = asked.ask();
                drop(go);
                other
            })
            .collect();
        asked.settle().await;
        assert_eq!(asked.written.load(Ordering::SeqCst), 1, "one is written at a time");
        drop(go);
        for other in others {
            assert_eq!(other.await.expect("ended").as_deref(), Some(&b"1"[..]));
        }
    }
}
