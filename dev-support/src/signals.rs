//! Termination signals, recorded so that they can be passed on to a child.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Result, bail};
use libc::c_int;
use rustix::process::Signal;

static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// From now on SIGINT, SIGTERM and SIGHUP are only recorded. Children are not affected: exec resets handlers.
pub fn catch() -> Result<()> {
    let handler: extern "C" fn(c_int) = record;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler has the type that signal(2) expects, and only stores into an atomic, which is
        // async-signal-safe.
        let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            bail!("cannot handle signal {signal}: {}", std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes the signal recorded since the last call. SIGHUP is reported as SIGTERM.
pub fn take() -> Option<Signal> {
    match CAUGHT.swap(0, Ordering::Relaxed) {
        libc::SIGINT => Some(Signal::INT),
        libc::SIGTERM | libc::SIGHUP => Some(Signal::TERM),
        _ => None,
    }
}

extern "C" fn record(signal: c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
}
