//! Periodic scans: work that is repeated every second, within one budget for all of them.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::thread_time;

/// Time between two runs of a scan.
const INTERVAL: Duration = Duration::from_secs(1);
/// What all scans together may use of a CPU: 1 %.
const BUDGET: f64 = 0.01;
/// What the scan that verdicts depend on may use whatever the others do: the more often it samples, the fewer remain open.
pub const EVIDENCE: f64 = 0.7 * BUDGET;
/// The same for a scan that only takes longer to notice something.
pub const NOTICE: f64 = 0.15 * BUDGET;

/// What each scan of this process uses of a CPU.
static USED: Mutex<Vec<f64>> = Mutex::new(Vec::new());

/// A scan that is repeated until this guard is dropped.
#[derive(Debug)]
pub struct PeriodicScan {
    _stop: Sender<()>,
}

/// Repeats a scan on a thread of its own until the guard is dropped or the scan returns `false`.
///
/// It runs every second, or less often if it needs more of a CPU than the others leave of 1 %, or than is `guaranteed`.
///
/// # Errors
///
/// When no thread can be started.
pub fn every_second(
    name: &str,
    guaranteed: f64,
    mut scan: impl FnMut() -> bool + Send + 'static,
) -> std::io::Result<PeriodicScan> {
    let (stop, stopped) = channel::<()>();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let place = Place::new(guaranteed);
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
struct Place {
    index: usize,
    guaranteed: f64,
}

impl Place {
    fn new(guaranteed: f64) -> Self {
        let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        used.push(0.0);
        Self { index: used.len() - 1, guaranteed }
    }

    /// How long to pause after a run that took this long.
    fn pause_after(&self, cost: Duration) -> Duration {
        let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        let others = used.iter().enumerate().filter(|(index, _)| *index != self.index).map(|(_, used)| used).sum();
        let pause = pause(cost, others, self.guaranteed);
        if let Some(own) = used.get_mut(self.index) {
            *own = cost.div_duration_f64(pause);
        }
        pause
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(own) = USED.lock().unwrap_or_else(PoisonError::into_inner).get_mut(self.index) {
            *own = 0.0;
        }
    }
}

/// The pause after a run, so that the scan stays within what `others` leave of the budget, or within what is guaranteed.
fn pause(cost: Duration, others: f64, guaranteed: f64) -> Duration {
    INTERVAL.max(cost.div_f64((BUDGET - others).max(guaranteed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_scans_share_one_budget() {
        let milliseconds = Duration::from_millis;
        assert_eq!(pause(milliseconds(2), 0.0, NOTICE), INTERVAL, "cheap ones run every second");
        assert_eq!(pause(milliseconds(100), 0.0, NOTICE).as_secs(), 10);
        assert_eq!(pause(milliseconds(100), 0.005, NOTICE).as_secs(), 20);
        assert_eq!(pause(milliseconds(100), 0.01, EVIDENCE).as_secs(), 14, "none is starved");
    }

    /// Expensive scans, turn by turn, settle within the budget.
    #[test]
    fn expensive_scans_settle_within_the_budget() {
        let scans = [(0.5, EVIDENCE), (0.2, NOTICE), (0.05, NOTICE)];
        let mut used = [0.0; 3];
        for _ in 0..10 {
            for (index, (cost, guaranteed)) in scans.into_iter().enumerate() {
                let (cost, others) = (Duration::from_secs_f64(cost), used.iter().sum::<f64>() - used[index]);
                used[index] = cost.div_duration_f64(pause(cost, others, guaranteed));
            }
        }
        assert!(used.iter().sum::<f64>() <= BUDGET * 1.001, "{used:?}");
        assert!(used[0] >= EVIDENCE * 0.999, "{used:?}");
    }
}
