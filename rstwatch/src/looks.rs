//! Looking at something from time to time, at a bounded price.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::clock::thread_time;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A look may take this part of a CPU's time: 1 %.
const SHARE: u32 = 100;

/// Ends the looking when dropped.
#[derive(Debug)]
pub struct Looking {
    _stop: Sender<()>,
}

/// Looks every second on a thread of its own, or less often where a look takes more than 1 % of that, until the guard is
/// dropped or a look answers `false`.
///
/// # Errors
///
/// When no thread can be started.
pub fn every_second(name: &str, mut look: impl FnMut() -> bool + Send + 'static) -> std::io::Result<Looking> {
    let (stop, stopped) = channel::<()>();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let mut pause = INTERVAL;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let began = thread_time();
            if !look() {
                return;
            }
            pause = INTERVAL.max(thread_time().saturating_sub(began) * SHARE);
        }
    })?;
    Ok(Looking { _stop: stop })
}
