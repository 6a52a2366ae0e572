//! Waits with a timeout.

use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Timeout for anything that does not depend on a timer.
pub(crate) const SOON: Duration = Duration::from_secs(3);

/// Poll interval, too short to matter in a row's idle time.
const INTERVAL: Duration = Duration::from_millis(4);

/// Polls until there is a value, or fails and says what was awaited.
pub(crate) fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {:.1} s", limit.as_secs_f32());
        }
        sleep(INTERVAL);
    }
}

/// Polls until the condition holds.
pub(crate) fn until_true(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(ask()?.then_some(())))
}

/// Waits until there is data to read, and leaves it unread.
pub(crate) fn readable(socket: impl AsFd) -> Result<()> {
    let timeout = Timespec::try_from(SOON)?;
    let ready = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&timeout))?;
    ensure!(ready == 1, "nothing to read within {} s", SOON.as_secs());
    Ok(())
}
