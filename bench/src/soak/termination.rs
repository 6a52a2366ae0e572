//! Kills and stops the agent during a flood of resets.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::load::{self, Load};
use crate::subject::conservation::own_out_rsts;
use crate::subject::tool::{Running, Tool};
use crate::subject::{process, programs};

/// Milliseconds after its start at which the agent is killed: while it loads, while it attaches, while it runs.
const MOMENTS: [u64; 8] = [0, 40, 90, 140, 190, 260, 400, 900];
/// How long the kernel may take to free programs that no process holds.
const FREED: Duration = Duration::from_secs(5);
/// How long the agent may take to end after SIGTERM while every CPU is busy.
const ENDS: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(20);
const STOPS: usize = 3;

/// SIGKILL at any moment must leave nothing attached. Returns a sentence for each program that is left.
pub(super) fn kill_repeatedly() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    during_flood(|| {
        for moment in MOMENTS {
            let before = ids()?;
            let running = Running::spawn(Tool::Rstwatch, None, Stdio::null(), Stdio::null())?;
            sleep(Duration::from_millis(moment + jitter()));
            drop(running);
            if let Some(left) = left_over(&before)? {
                wrong.push(format!("killed after {moment} ms: left {left}"));
            }
        }
        Ok(())
    })?;
    Ok(wrong)
}

/// SIGTERM at random moments must lose no count. Returns a sentence for each difference.
pub(super) fn stop_repeatedly() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    during_flood(|| {
        for _ in 0..STOPS {
            wrong.extend(stop_once()?);
        }
        Ok(())
    })?;
    Ok(wrong)
}

fn stop_once() -> Result<Option<String>> {
    let log = tempfile::NamedTempFile::new()?;
    let at_most = own_out_rsts()?;
    let mut running = Running::spawn(Tool::Rstwatch, None, Stdio::null(), log.reopen()?.into())?;
    running.wait_ready()?;
    // From now until SIGTERM it must count every reset.
    let at_least = own_out_rsts()?;
    sleep(Duration::from_millis(300 + jitter()));
    let at_least = own_out_rsts()? - at_least;
    kill_process(Pid::from_child(running.child()), Signal::TERM).context("SIGTERM")?;
    wait_end(&mut running)?;
    let at_most = own_out_rsts()? - at_most;
    let mut text = String::new();
    log.reopen()?.read_to_string(&mut text)?;
    let Some([sent, received, kernel]) = text.lines().rev().find_map(totals) else {
        bail!("the agent's final message has no totals: {text}");
    };
    let all = sent + received == kernel && sent >= at_least && sent <= at_most;
    Ok((!all).then(|| {
        format!(
            "stopped in a flood: counted {sent} sent and {received} received, the kernel side {kernel}; made: {at_least} to {at_most}"
        )
    }))
}

/// Totals in the agent's final message: sent, received, and the kernel side's count of both.
fn totals(line: &str) -> Option<[u64; 3]> {
    let (_, said) = line.split_once("ended: ")?;
    let mut numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let [sent, received, _unsampled, sent_in_kernel, received_in_kernel] = std::array::from_fn(|_| numbers.next());
    Some([sent?, received?, sent_in_kernel? + received_in_kernel?])
}

fn wait_end(running: &mut Running) -> Result<()> {
    let began = Instant::now();
    while running.child().try_wait()?.is_none() {
        if began.elapsed() > ENDS {
            bail!("it did not end within {} s of SIGTERM", ENDS.as_secs());
        }
        sleep(TICK);
    }
    Ok(())
}

/// Does the work while resets are made as fast as possible.
fn during_flood(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                load::run(Load::Aborted, 5 * TICK)?;
                load::run(Load::Refused, 5 * TICK)?;
            }
            Ok(())
        });
        let done = work();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let flooded: Result<()> = flood.join().unwrap_or_else(|_| Err(anyhow!("the flood panicked")));
        done.and(flooded)
    })
}

fn ids() -> Result<BTreeSet<u32>> {
    Ok(programs::all()?.iter().map(|program| program.id).collect())
}

/// Names of new programs that no process holds and the kernel does not free: something else keeps them attached.
fn left_over(before: &BTreeSet<u32>) -> Result<Option<String>> {
    let began = Instant::now();
    loop {
        let new: Vec<_> = programs::all()?.into_iter().filter(|program| !before.contains(&program.id)).collect();
        let held = held();
        let left: Vec<_> =
            new.iter().filter(|program| !held.contains(&program.id)).map(|left| left.name.as_str()).collect();
        if left.is_empty() {
            return Ok(None);
        }
        if began.elapsed() > FREED {
            return Ok(Some(left.join(", ")));
        }
        sleep(TICK);
    }
}

/// Ids of programs that a process holds.
fn held() -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process may have ended meanwhile.
    pids.flat_map(|pid: u32| process::bpf_programs(pid).unwrap_or_default()).collect()
}

/// A random number of milliseconds up to 30, from the clock.
fn jitter() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_micros() % 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_final_message() {
        let line = "INFO ended: 12 sent and 30 received resets were told, 5 without detail; 12 and 30 were counted";
        assert_eq!(totals(line), Some([12, 30, 42]));
        assert_eq!(totals("INFO listening on http://127.0.0.1:9877"), None);
    }
}
