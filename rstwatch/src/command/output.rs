//! Writes to stdout on a thread of its own, so that a stalled reader does not stall the event loop.

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

/// Texts that may be queued.
const QUEUE: usize = 1_024;

/// How long the reader may take for the texts that are queued at the end.
const GRACE: Duration = Duration::from_millis(500);

/// Writes texts in order; flushes whenever the queue is empty.
#[derive(Debug)]
pub struct Output {
    texts: mpsc::Sender<String>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Starts the thread that writes to `to`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(to: impl Write + Send + 'static) -> anyhow::Result<Self> {
        let (texts, queue) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        let work = move || _ = end.send(write(to, queue));
        std::thread::Builder::new().name("output".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { texts, ended })
    }

    /// Queues a text; waits while the queue is full. Drops it if writing has failed.
    pub async fn send(&self, text: String) {
        _ = self.texts.send(text).await;
    }

    /// Queues a text, or drops it if the queue is full.
    pub fn offer(&self, text: String) {
        _ = self.texts.try_send(text);
    }

    /// Returns once writing has failed.
    pub async fn closed(&self) {
        self.texts.closed().await;
    }

    /// Writes what is queued, for at most half a second; the rest is lost.
    ///
    /// # Errors
    /// If writing failed or took longer.
    pub async fn finish(self) -> anyhow::Result<()> {
        let Self { texts, ended } = self;
        drop(texts);
        match tokio::time::timeout(GRACE, ended).await {
            Ok(Ok(written)) => written.context("cannot write to stdout"),
            _ => Err(anyhow::anyhow!("stdout was not read in time: its last lines are lost")),
        }
    }

    /// Writes what is queued, however long the reader takes, until `stop` is ready.
    ///
    /// # Errors
    /// If writing failed or was stopped.
    pub async fn finish_unless<T>(self, stop: impl Future<Output = T>) -> anyhow::Result<()> {
        let Self { texts, ended } = self;
        drop(texts);
        tokio::select! {
            Ok(written) = ended => written.context("cannot write to stdout"),
            _ = stop => Err(anyhow::anyhow!("stdout was not read in time: its last lines are lost")),
        }
    }
}

fn write(mut to: impl Write, mut queue: mpsc::Receiver<String>) -> io::Result<()> {
    while let Some(text) = queue.blocking_recv() {
        to.write_all(text.as_bytes())?;
        if queue.is_empty() {
            to.flush()?;
        }
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Fails like a pipe that has no reader.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks forever.
    struct Stuck;

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            loop {
                std::thread::park();
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn texts_are_written_in_order() {
        let written = Written::default();
        let output = Output::start(written.clone()).expect("thread");
        output.send("a\n".into()).await;
        output.offer("b\n".into());
        output.finish().await.expect("written");
        assert_eq!(*written.0.lock().expect("lock"), b"a\nb\n");
    }

    #[tokio::test]
    async fn a_closed_pipe_closes_the_output() {
        let output = Output::start(Broken).expect("thread");
        output.send("a\n".into()).await;
        output.closed().await;
        let error = output.finish().await.expect_err("broken");
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::BrokenPipe));
    }

    #[tokio::test]
    async fn finish_unless_waits_for_the_reader_until_stopped() {
        let written = Written::default();
        let output = Output::start(written.clone()).expect("thread");
        output.send("a\n".into()).await;
        output.finish_unless(std::future::pending::<()>()).await.expect("written");
        assert_eq!(*written.0.lock().expect("lock"), b"a\n");
        let output = Output::start(Stuck).expect("thread");
        output.send("a\n".into()).await;
        let later = tokio::time::sleep(GRACE + GRACE / 5);
        assert!(output.finish_unless(later).await.is_err());
    }

    #[tokio::test]
    async fn finish_gives_up_on_a_stalled_reader() {
        let start = Instant::now();
        let output = Output::start(Stuck).expect("thread");
        output.send("a\n".into()).await;
        assert!(output.finish().await.is_err());
        assert!(start.elapsed() < Duration::from_millis(900));
    }
}
