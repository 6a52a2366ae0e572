//! Periodic scans: work that is repeated every second, at a bounded cost.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::clock::thread_time;

/// Time between two scans.
const INTERVAL: Duration = Duration::from_secs(1);
/// A scan may use one part in this many of a CPU: 1 %.
const CPU_SHARE: u32 = 100;

/// A scan that is repeated until this guard is dropped.
#[derive(Debug)]
pub struct PeriodicScan {
    _stop: Sender<()>,
}

/// Repeats a scan on a thread of its own until the guard is dropped or the scan returns `false`.
///
/// It runs every second, or less often if a scan needs more than 1 % of the time between two.
///
/// # Errors
///
/// When no thread can be started.
pub fn every_second(name: &str, mut scan: impl FnMut() -> bool + Send + 'static) -> std::io::Result<PeriodicScan> {
    let (stop, stopped) = channel::<()>();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let mut pause = INTERVAL;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let began = thread_time();
            if !scan() {
                return;
            }
            pause = INTERVAL.max(thread_time().saturating_sub(began) * CPU_SHARE);
        }
    })?;
    Ok(PeriodicScan { _stop: stop })
}
