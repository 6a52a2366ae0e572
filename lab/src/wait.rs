//! Waiting for something to become true, bounded.

use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long anything that needs no timer may take.
pub(super) const SOON: Duration = Duration::from_secs(3);

/// Short enough not to be seen in a row's idle gap.
const NAP: Duration = Duration::from_millis(4);

/// Asks until there is an answer, or fails saying what never came.
pub(super) fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {:.1} s", limit.as_secs_f32());
        }
        sleep(NAP);
    }
}

/// As [`until`], for a plain condition.
pub(super) fn until_true(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(ask()?.then_some(())))
}

/// Waits for something to read, and leaves it unread.
pub(super) fn readable(socket: impl AsFd) -> Result<()> {
    let patience = Timespec::try_from(SOON)?;
    let ready = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&patience))?;
    ensure!(ready == 1, "nothing to read within {} s", SOON.as_secs());
    Ok(())
}
