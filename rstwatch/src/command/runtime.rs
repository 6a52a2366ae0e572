//! The async runtime of the commands, and the signals that stop or reload them.

use std::future::Future;
use std::mem::MaybeUninit;

use anyhow::Context;
use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// Runs a command to completion.
///
/// The future runs on this thread, the tasks that it spawns on two workers. Blocking tasks that are still running at the end
/// are not awaited.
///
/// # Errors
/// The error of the command, or if threads cannot be started.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// A request by the user or the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGHUP: re-read the configuration.
    Reload,
}

/// Blocks SIGTERM and SIGINT until [`Signals`] handles them, so that they cannot kill the process while it attaches.
pub fn hold_signals() {
    mask(libc::SIG_BLOCK, &[libc::SIGTERM, libc::SIGINT]);
}

/// Blocks SIGHUP likewise. It must not end the agent.
pub fn hold_reload() {
    mask(libc::SIG_BLOCK, &[libc::SIGHUP]);
}

/// Changes the signal mask of this thread.
fn mask(how: libc::c_int, signals: &[libc::c_int]) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset() initializes the set and reads nothing from it.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set is initialized.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: the set is initialized; a null pointer means that the old mask is not returned.
    unsafe { libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut()) };
}

/// Receives signals.
#[derive(Debug)]
pub struct Signals {
    term: Source,
    int: Source,
    /// `None`: SIGHUP keeps its default action, so closing the terminal ends the process.
    hup: Option<Source>,
}

impl Signals {
    /// Handles SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stop_only() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot handle signals");
        let signals = Self { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())?, hup: None };
        mask(libc::SIG_UNBLOCK, &[libc::SIGTERM, libc::SIGINT]);
        Ok(signals)
    }

    /// Handles SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn with_reload() -> anyhow::Result<Self> {
        let hup = signal(SignalKind::hangup()).context("cannot handle signals")?;
        let signals = Self { hup: Some(hup), ..Self::stop_only()? };
        mask(libc::SIG_UNBLOCK, &[libc::SIGHUP]);
        Ok(signals)
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        let Self { term, int, hup } = self;
        let hup = async {
            match hup {
                Some(hup) => _ = hup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = term.recv() => Signal::Stop,
            _ = int.recv() => Signal::Stop,
            () = hup => Signal::Reload,
        }
    }
}
