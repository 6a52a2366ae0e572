//! A writer on a thread of its own, so that a reader who stalls does not stall the watching.

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

/// Texts that may wait for the reader.
const QUEUE: usize = 1_024;

/// How long the reader may take for what is left at the end.
const GRACE: Duration = Duration::from_millis(500);

/// Writes texts in order; flushes whenever none waits.
#[derive(Debug)]
pub struct Output {
    texts: mpsc::Sender<String>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Writes to `to` from now on.
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

    /// Queues a text; waits while the queue is full. Nothing happens once writing has failed.
    pub async fn send(&self, text: String) {
        _ = self.texts.send(text).await;
    }

    /// Queues a text if there is room.
    pub fn offer(&self, text: String) {
        _ = self.texts.try_send(text);
    }

    /// Returns once writing has failed.
    pub async fn closed(&self) {
        self.texts.closed().await;
    }

    /// Writes what is queued; a reader that takes longer than half a second loses the rest.
    ///
    /// # Errors
    /// If something could not be written.
    pub async fn finish(self) -> anyhow::Result<()> {
        let Self { texts, ended } = self;
        drop(texts);
        match tokio::time::timeout(GRACE, ended).await {
            Ok(Ok(written)) => written.context("cannot write to stdout"),
            _ => Err(anyhow::anyhow!("stdout is not read: its last lines are lost")),
        }
    }

    /// Writes what is queued, however long the reader takes; until `stop` is ready.
    ///
    /// # Errors
    /// If something could not be written.
    pub async fn finish_unless<T>(self, stop: impl Future<Output = T>) -> anyhow::Result<()> {
        let Self { texts, ended } = self;
        drop(texts);
        tokio::select! {
            Ok(written) = ended => written.context("cannot write to stdout"),
            _ = stop => Err(anyhow::anyhow!("stdout is not read: its last lines are lost")),
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

    /// Fails as a pipe does whose reader is gone.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Never takes anything.
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
    async fn all_is_written_in_order() {
        let written = Written::default();
        let output = Output::start(written.clone()).expect("thread");
        output.send("a\n".into()).await;
        output.offer("b\n".into());
        output.finish().await.expect("written");
        assert_eq!(*written.0.lock().expect("lock"), b"a\nb\n");
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_ends_it() {
        let output = Output::start(Broken).expect("thread");
        output.send("a\n".into()).await;
        output.closed().await;
        let error = output.finish().await.expect_err("broken");
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::BrokenPipe));
    }

    #[tokio::test]
    async fn a_report_waits_for_its_reader_unless_told_to_stop() {
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
    async fn a_reader_that_stalls_does_not_keep_it() {
        let start = Instant::now();
        let output = Output::start(Stuck).expect("thread");
        output.send("a\n".into()).await;
        assert!(output.finish().await.is_err());
        assert!(start.elapsed() < Duration::from_millis(900));
    }
}
