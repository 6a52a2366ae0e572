//! The runtime that commands run in, and the signals that end them.

use std::future::Future;
use std::mem::MaybeUninit;

use anyhow::Context;
use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// Runs a command to its end.
///
/// The future stays on this thread; what it spawns shares two workers. Blocking leftovers are not waited for.
///
/// # Errors
/// Those of the command, or if threads cannot be started.
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

/// What the user or the supervisor wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Keeps the signals that end a command back until it takes them by [`Signals`]: attaching comes before that, and takes a
/// moment.
pub fn hold_signals() {
    mask(libc::SIG_BLOCK, &[libc::SIGTERM, libc::SIGINT]);
}

/// The same for SIGHUP, which does not end the agent.
pub fn hold_reload() {
    mask(libc::SIG_BLOCK, &[libc::SIGHUP]);
}

/// Changes which signals this thread takes.
fn mask(how: libc::c_int, signals: &[libc::c_int]) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it makes the set empty, whatever it was.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set was made.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: the set was made; nobody asks for the old one.
    unsafe { libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut()) };
}

/// Signals as they come.
#[derive(Debug)]
pub struct Signals {
    term: Source,
    int: Source,
    /// None: SIGHUP keeps its default and ends the process with its terminal.
    hup: Option<Source>,
}

impl Signals {
    /// Takes SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stop_only() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot take signals");
        let signals = Self { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())?, hup: None };
        mask(libc::SIG_UNBLOCK, &[libc::SIGTERM, libc::SIGINT]);
        Ok(signals)
    }

    /// Takes SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn with_reload() -> anyhow::Result<Self> {
        let hup = signal(SignalKind::hangup()).context("cannot take signals")?;
        let signals = Self { hup: Some(hup), ..Self::stop_only()? };
        mask(libc::SIG_UNBLOCK, &[libc::SIGHUP]);
        Ok(signals)
    }

    /// The next signal. Cancel safe.
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
