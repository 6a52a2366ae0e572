//! Signals that ask us to end, noted and passed on instead of obeyed.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Result, bail};
use libc::c_int;
use rustix::process::Signal;

static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// From here on SIGINT, SIGTERM and SIGHUP are only noted. A child does not inherit
/// that: exec resets handlers.
pub fn catch() -> Result<()> {
    let handler: extern "C" fn(c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler is of the type that signal(2) calls, and all it does is
        // to store into an atomic, which is async-signal-safe.
        let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            bail!("cannot handle signal {signal}: {}", std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The signal noted since the last call. A lost terminal asks to end, too.
pub fn take() -> Option<Signal> {
    match CAUGHT.swap(0, Ordering::Relaxed) {
        libc::SIGINT => Some(Signal::INT),
        libc::SIGTERM | libc::SIGHUP => Some(Signal::TERM),
        _ => None,
    }
}

extern "C" fn note(signal: c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
}
