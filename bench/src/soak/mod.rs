//! `cargo xtask soak`: kills and stops the agent repeatedly, then runs it under millions of resets of several kinds.
//!
//! Memory and descriptors must not grow, no count may be lost, and no program may stay attached.

mod followers;
mod termination;
mod traffic;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dev_support::cgroups;
use dev_support::setup::{self, Purpose};

use self::followers::Followers;
use self::traffic::Traffic;
use crate::network;
use crate::subject::conservation::ConservationCheck;
use crate::subject::process;
use crate::subject::tool::{self, ALL_DETAILS, Running, Tool, config_file};
use crate::subject::web::{self, Counts};

/// Arguments of `cargo xtask soak`.
#[derive(clap::Args, Debug)]
pub struct SoakArgs {
    /// Number of resets, sent and received
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(300_000..))]
    events: u64,
    /// Test this binary instead of the release build; a relative path starts at the workspace root
    #[arg(long, value_name = "PATH")]
    rstwatch: Option<PathBuf>,
}

/// Maximum growth of memory in a long run, from the first quarter of its samples to the last.
const GROWTH_KIB: u64 = 1024;
/// Maximum growth in a shorter run: the allocator's pools still grow during the first millions of events.
const SHORT_GROWTH_KIB: u64 = 4 * GROWTH_KIB;
/// A run with at least this many resets is long.
const LONG_RUN: u64 = 5_000_000;
/// Resets after which every bounded table is full.
const WARM_UP: u64 = 250_000;
/// Pause between two rounds of reading pages and sampling.
const TICK: Duration = Duration::from_millis(250);

/// Results of a soak.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SoakResult {
    /// Resets, sent and received.
    pub events: u64,
    /// Resets that the agent judged individually; it only counted the others.
    pub judged: u64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Median resident memory in KiB: of the first quarter of samples (once the tables are full), and of the last.
    pub rss_kib: (u64, u64),
    /// Open descriptors once the tables are full, and at the end.
    pub descriptors: (usize, usize),
    /// One sentence per fault.
    pub faults: Vec<String>,
}

/// Runs the soak test and prints its results. Returns whether it passed.
pub fn soak(args: &SoakArgs) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF needs root: sudo env \"PATH=$PATH\" cargo xtask soak");
    }
    setup::ensure(Purpose::Soak)?;
    tool::select_binary(args.rstwatch.as_deref())?;
    let result = network::isolated(|| {
        let mut faults = termination::kill_repeatedly()?;
        faults.extend(termination::stop_repeatedly()?);
        let mut result = run(args.events)?;
        result.faults.splice(0..0, faults);
        Ok(result)
    })?;
    result.print();
    Ok(result.faults.is_empty())
}

impl SoakResult {
    /// Prints the results in a few lines.
    pub fn print(&self) {
        let Self { events, judged, seconds, rss_kib, descriptors, faults } = self;
        println!("{events} resets in {seconds:.1} s, {judged} judged individually, the others only counted");
        println!("median memory {} KiB in the first quarter, {} KiB in the last", rss_kib.0, rss_kib.1);
        println!("descriptors {} after warm-up, {} at the end", descriptors.0, descriptors.1);
        faults.iter().for_each(|fault| println!("WRONG  {fault}"));
    }
}

/// Makes `events` resets of several kinds while clients read the agent's pages. The resets come from many programs and addresses;
/// network namespaces and listeners are created and removed throughout. Call it in an isolated network namespace.
pub fn run(events: u64) -> Result<SoakResult> {
    let config = config_file(ALL_DETAILS)?;
    let running = Running::start(Tool::Rstwatch, Some(config.path()))?;
    // Otherwise all programs would belong to the unit or container that runs the test.
    cgroups::leave_all();
    let _followers = Followers::start()?;
    let check = ConservationCheck::begin()?;
    let began = Instant::now();
    let traffic = Traffic::new(events, (events / 10).max(WARM_UP));
    let mut samples = Vec::new();
    let made = thread::scope(|scope| {
        let workers = traffic.start(scope);
        let sampled = sample_until_done(&running, &traffic, &mut samples);
        if sampled.is_err() {
            traffic.stop();
        }
        let made = Traffic::join(workers);
        sampled.and(made)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut faults = check.end(0, made)?;
    let counts = Counts::now()?;
    samples.push(Sample::of(&running)?);
    let (first, last) = first_and_last(&samples).context("nothing was sampled")?;
    let result = SoakResult {
        events: counts.all(),
        judged: counts.events,
        seconds,
        rss_kib: (first.rss_kib, last.rss_kib),
        descriptors: (first.descriptors, last.descriptors),
        faults: Vec::new(),
    };
    faults.extend(growth(&first, &last, if events < LONG_RUN { SHORT_GROWTH_KIB } else { GROWTH_KIB }));
    if !web::get("/metrics")?.contains("workload=\"soak-") {
        faults.push("no series has a program's name".to_owned());
    }
    Ok(SoakResult { faults, ..result })
}

/// Faults: memory that grew by more than `max_kib`, and descriptors that grew at all.
fn growth(first: &Sample, last: &Sample, max_kib: u64) -> Vec<String> {
    let mut faults = Vec::new();
    if last.rss_kib > first.rss_kib + max_kib {
        faults.push(format!("memory grew from {} to {} KiB", first.rss_kib, last.rss_kib));
    }
    // Fewer is fine: the agent disconnects the follower that never reads.
    if last.descriptors > first.descriptors {
        faults.push(format!("descriptors grew from {} to {}", first.descriptors, last.descriptors));
    }
    faults
}

/// The samples to compare. Memory is the median of the first and of the last quarter, because single samples vary by as much as
/// memory may grow; descriptors are those of the first and of the last sample.
fn first_and_last(samples: &[Sample]) -> Option<(Sample, Sample)> {
    let quarter = samples.len().div_ceil(4);
    let (first_quarter, last_quarter) = (samples.get(..quarter)?, samples.get(samples.len() - quarter..)?);
    let first = Sample { rss_kib: median_rss(first_quarter)?, ..*samples.first()? };
    let last = Sample { rss_kib: median_rss(last_quarter)?, ..*samples.last()? };
    Some((first, last))
}

/// Median of the resident memory.
fn median_rss(samples: &[Sample]) -> Option<u64> {
    let mut all: Vec<_> = samples.iter().map(|sample| sample.rss_kib).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// The agent's resources at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rss_kib: u64,
    descriptors: usize,
}

impl Sample {
    fn of(running: &Running) -> Result<Self> {
        // The agent closes a page's connection slightly after its response, so take the minimum.
        let mut fewest = usize::MAX;
        for _ in 0..20 {
            fewest = fewest.min(process::descriptors(running.pid())?);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { rss_kib: process::rss_kib(running.pid())?, descriptors: fewest })
    }
}

/// Reads the agent's pages in rounds, and samples the agent once the tables are full.
fn sample_until_done(running: &Running, traffic: &Traffic, samples: &mut Vec<Sample>) -> Result<()> {
    while !traffic.is_done() {
        for path in ["/metrics", "/", "/api/v1/status", "/api/v1/events"] {
            web::get(path)?;
        }
        if traffic.has_begun() {
            samples.push(Sample::of(running)?);
        }
        thread::sleep(TICK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Sample, first_and_last, growth};

    /// Faults of a run with these samples of memory, in KiB.
    fn faults(memory: &[u64]) -> Vec<String> {
        let samples: Vec<_> = memory.iter().map(|&rss_kib| Sample { rss_kib, descriptors: 20 }).collect();
        let (first, last) = first_and_last(&samples).expect("samples");
        growth(&first, &last, 1024)
    }

    #[test]
    fn reports_growth_but_not_fluctuation() {
        let steady: Vec<_> = (0..400).map(|n| 28_000 + n % 7 * 400).collect();
        assert!(faults(&steady).is_empty(), "memory fluctuates");
        let leaky: Vec<_> = (0..400).map(|n| 28_000 + n % 7 * 400 + n * 6).collect();
        assert_eq!(faults(&leaky).len(), 1, "1.8 MiB from quarter to quarter");
        assert_eq!(faults(&[28_000, 30_000]).len(), 1, "two samples suffice");
        assert!(faults(&[28_000]).is_empty());
    }

    #[test]
    fn reports_a_single_leaked_descriptor() {
        let sample = |descriptors| Sample { rss_kib: 1, descriptors };
        assert_eq!(growth(&sample(20), &sample(21), 0).len(), 1);
        assert!(growth(&sample(20), &sample(19), 0).is_empty());
    }
}
