//! Gives sockets older than the agent their owners: at once where there are few files, else in the background at a bounded price.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::clock::thread_time;
use super::iterator::BpfIterator;

/// How long the start waits for it. A file takes about a microsecond, a socket up to five.
const AT_ONCE: Duration = Duration::from_millis(50);
/// In the background it may use one part in this many of a CPU.
const CPU_SHARE: u32 = 10;
/// Files between two looks at the time. The program writes a byte for each file, and a read ends when its buffer is full.
const FILES: usize = 1024;

/// A walk over the files of all tasks that has begun.
#[derive(Debug)]
pub struct Seed(File);

/// A walk in the background; dropping it ends the walk.
#[derive(Debug)]
pub struct Seeding {
    _stop: Sender<()>,
}

impl Seed {
    /// Walks for as long as the start may take; returns the walk if it is not complete.
    pub(super) fn begin(iterator: &BpfIterator) -> Option<Self> {
        let mut seed = iterator.open().map(Self).inspect_err(warn).ok()?;
        let began = Instant::now();
        while seed.step() {
            if began.elapsed() >= AT_ONCE {
                return Some(seed);
            }
        }
        None
    }

    /// Goes on in a thread of its own until all files are visited, or the guard is dropped.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(mut self) -> std::io::Result<Seeding> {
        let (stop, stopped) = channel::<()>();
        std::thread::Builder::new().name("seed".into()).spawn(move || {
            let mut pause = Duration::ZERO;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let began = thread_time();
                if !self.step() {
                    return;
                }
                pause = thread_time().saturating_sub(began) * (CPU_SHARE - 1);
            }
        })?;
        Ok(Seeding { _stop: stop })
    }

    /// Visits the next files; returns whether there may be more.
    fn step(&mut self) -> bool {
        match self.0.read(&mut [0; FILES]) {
            Ok(files) => files > 0,
            // After a million objects the kernel pauses (kernel/bpf/bpf_iter.c, bpf_seq_read).
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => true,
            Err(error) => {
                warn(&error);
                false
            }
        }
    }
}

fn warn(error: &std::io::Error) {
    tracing::warn!("sockets older than rstwatch may lack an owner: their files cannot be read: {error}");
}
