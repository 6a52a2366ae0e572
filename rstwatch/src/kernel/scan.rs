//! Periodic scans: work that is repeated every second, within one budget for all of them.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::thread_time;

/// Time between two runs of a scan.
const INTERVAL: Duration = Duration::from_secs(1);
/// What all scans together may use of a CPU: 1 %.
const BUDGET: f64 = 0.01;
/// What each may use whatever the others do, as a part of the budget. There are three scans at most.
const GUARANTEED: f64 = BUDGET / 3.0;

/// What each scan of this process uses of a CPU.
static USED: Mutex<Vec<f64>> = Mutex::new(Vec::new());

/// A scan that is repeated until this guard is dropped.
#[derive(Debug)]
pub struct PeriodicScan {
    _stop: Sender<()>,
}

/// Repeats a scan on a thread of its own until the guard is dropped or the scan returns `false`.
///
/// It runs every second, or less often if it needs more of the time between two runs than the others leave of 1 %.
///
/// # Errors
///
/// When no thread can be started.
pub fn every_second(name: &str, mut scan: impl FnMut() -> bool + Send + 'static) -> std::io::Result<PeriodicScan> {
    let (stop, stopped) = channel::<()>();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let place = Place::new();
        let mut pause = INTERVAL;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let began = thread_time();
            if !scan() {
                break;
            }
            pause = place.pause_after(thread_time().saturating_sub(began));
        }
    })?;
    Ok(PeriodicScan { _stop: stop })
}

/// A scan's place in [`USED`]; returned when dropped.
struct Place(usize);

impl Place {
    fn new() -> Self {
        let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        used.push(0.0);
        Self(used.len() - 1)
    }

    /// How long to pause after a run that took this long.
    fn pause_after(&self, cost: Duration) -> Duration {
        let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        let others = used.iter().enumerate().filter(|(place, _)| *place != self.0).map(|(_, used)| used).sum();
        let pause = pause(cost, others);
        if let Some(own) = used.get_mut(self.0) {
            *own = cost.div_duration_f64(pause);
        }
        pause
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(own) = USED.lock().unwrap_or_else(PoisonError::into_inner).get_mut(self.0) {
            *own = 0.0;
        }
    }
}

/// The pause after a run, so that the scan stays within what `others` leave of the budget.
fn pause(cost: Duration, others: f64) -> Duration {
    INTERVAL.max(cost.div_f64((BUDGET - others).max(GUARANTEED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_scans_share_one_budget() {
        let milliseconds = Duration::from_millis;
        assert_eq!(pause(milliseconds(2), 0.0), INTERVAL, "cheap ones run every second");
        assert_eq!(pause(milliseconds(100), 0.0).as_secs(), 10);
        assert_eq!(pause(milliseconds(100), 0.005).as_secs(), 20);
        assert_eq!(pause(milliseconds(100), 0.01).as_secs(), 30, "none is starved");
    }

    /// Three expensive scans, turn by turn, settle within the budget.
    #[test]
    fn expensive_scans_settle_within_the_budget() {
        let costs = [0.5, 0.2, 0.05].map(Duration::from_secs_f64);
        let mut used = [0.0; 3];
        for _ in 0..10 {
            for scan in 0..costs.len() {
                let others = used.iter().sum::<f64>() - used[scan];
                used[scan] = costs[scan].div_duration_f64(pause(costs[scan], others));
            }
        }
        assert!(used.iter().sum::<f64>() <= BUDGET * 1.001, "{used:?}");
    }
}
