//! The time from the start of the agent to its first event in /metrics.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::figures::{Figure, Limit};
use crate::load;
use crate::subject::tool::{Running, Tool};
use crate::subject::web::Counts;

const TIMEOUT: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(1);

/// Measures the start this many times.
pub(crate) fn to_first_event(times: usize) -> Result<Vec<Figure>> {
    let times = (0..times).map(|_| once()).collect::<Result<Vec<f64>>>()?;
    let figure = Figure::median("start to first event in /metrics", "ms", &times);
    Ok(vec![figure.limited(Limit::AtMost(300.0))])
}

fn once() -> Result<f64> {
    let began = Instant::now();
    let _running = Running::spawn(Tool::Rstwatch, None, std::process::Stdio::null(), std::process::Stdio::null())?;
    while !Counts::now().is_ok_and(|counts| counts.events > 0) {
        if began.elapsed() > TIMEOUT {
            bail!("no event within {} s", TIMEOUT.as_secs());
        }
        load::refused(([127, 0, 0, 1], 1).into())?;
        sleep(TICK);
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
