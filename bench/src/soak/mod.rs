//! `cargo xtask soak`: runs the agent under millions of resets of all causes, and kills and stops it meanwhile.
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

/// What `cargo xtask soak` accepts.
#[derive(clap::Args, Debug)]
pub struct SoakArgs {
    /// Number of resets, sent and received
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(300_000..))]
    events: u64,
    /// The rstwatch to test, instead of the release build; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH")]
    rstwatch: Option<PathBuf>,
}

/// Growth of memory that a long run may show from the first quarter of its samples to the last.
const GROWTH_KIB: u64 = 1024;
/// The same in a shorter run: the allocator's pools still settle in the first millions of events.
const SHORT_GROWTH_KIB: u64 = 4 * GROWTH_KIB;
/// Resets from which a run is long.
const LONG: u64 = 5_000_000;
/// Resets until all tables have filled up to their bounds.
const FILLS: u64 = 250_000;
const TICK: Duration = Duration::from_millis(250);

/// Results of a soak.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Soaked {
    /// Resets, sent and received.
    pub events: u64,
    /// Those that the agent judged one by one; it only counted the others.
    pub judged: u64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Median memory in KiB of the first quarter of samples (once the tables are full) and of the last.
    pub rss_kib: (u64, u64),
    /// Descriptors when the tables are full, and at the end.
    pub descriptors: (usize, usize),
    /// A sentence for each fault.
    pub wrong: Vec<String>,
}

/// Runs the soak. Returns whether no fault was found.
pub fn soak(args: &SoakArgs) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF needs root: sudo env \"PATH=$PATH\" cargo xtask soak");
    }
    setup::ensure(Purpose::Soak)?;
    tool::select_binary(args.rstwatch.as_deref())?;
    let soaked = network::isolated(|| {
        let mut wrong = termination::kill_repeatedly()?;
        wrong.extend(termination::stop_repeatedly()?);
        let mut soaked = run(args.events)?;
        soaked.wrong.splice(0..0, wrong);
        Ok(soaked)
    })?;
    soaked.print();
    Ok(soaked.wrong.is_empty())
}

impl Soaked {
    /// Prints the results in a few lines.
    pub fn print(&self) {
        let Self { events, judged, seconds, rss_kib, descriptors, wrong } = self;
        println!("{events} resets in {seconds:.1} s, {judged} of them judged one by one, the others counted");
        println!("memory {} KiB in the first quarter, {} KiB in the last (medians)", rss_kib.0, rss_kib.1);
        println!("descriptors {} after the beginning, {} at the end", descriptors.0, descriptors.1);
        wrong.iter().for_each(|wrong| println!("WRONG  {wrong}"));
    }
}

/// Makes this many resets of every cause, by many programs, between many addresses, in namespaces and at listeners that come
/// and go, while clients read the agent's pages. To be called in an isolated network namespace.
pub fn run(events: u64) -> Result<Soaked> {
    let config = config_file(ALL_DETAILS)?;
    let running = Running::start(Tool::Rstwatch, Some(config.path()))?;
    // In a unit or a container all programs would be attributed to it.
    cgroups::leave_all();
    let _followers = Followers::start()?;
    let check = ConservationCheck::begin()?;
    let began = Instant::now();
    let traffic = Traffic::new(events, (events / 10).max(FILLS));
    let mut samples = Vec::new();
    let made = thread::scope(|scope| {
        let workers = traffic.start(scope);
        let watched = sample_until_done(&running, &traffic, &mut samples);
        if watched.is_err() {
            traffic.stop();
        }
        let made = Traffic::join(workers);
        watched.and(made)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut wrong = check.end(0, made)?;
    let counts = Counts::now()?;
    samples.push(Sample::of(&running)?);
    let (first, last) = compared(&samples).context("nothing was sampled")?;
    let soaked = Soaked {
        events: counts.all(),
        judged: counts.events,
        seconds,
        rss_kib: (first.rss_kib, last.rss_kib),
        descriptors: (first.descriptors, last.descriptors),
        wrong: Vec::new(),
    };
    wrong.extend(judge(&first, &last, if events < LONG { SHORT_GROWTH_KIB } else { GROWTH_KIB }));
    if !web::get("/metrics")?.contains("workload=\"soak-") {
        wrong.push("no series has a program's name".to_owned());
    }
    Ok(Soaked { wrong, ..soaked })
}

fn judge(first: &Sample, last: &Sample, growth_kib: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    if last.rss_kib > first.rss_kib + growth_kib {
        wrong.push(format!("memory grew from {} to {} KiB", first.rss_kib, last.rss_kib));
    }
    // There may be fewer, because the agent disconnects the follower that never reads.
    if last.descriptors > first.descriptors {
        wrong.push(format!("descriptors grew from {} to {}", first.descriptors, last.descriptors));
    }
    wrong
}

/// Compares the first quarter of the samples with the last. Medians of memory, because single samples vary by as much as memory
/// may grow; of descriptors the first and the last count.
fn compared(samples: &[Sample]) -> Option<(Sample, Sample)> {
    let quarter = samples.len().div_ceil(4);
    let (begun, ended) = (samples.get(..quarter)?, samples.get(samples.len() - quarter..)?);
    let first = Sample { rss_kib: median_rss(begun)?, ..*samples.first()? };
    let last = Sample { rss_kib: median_rss(ended)?, ..*samples.last()? };
    Some((first, last))
}

/// Median memory.
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
        // The agent closes a page's connection a little after its response.
        let mut fewest = usize::MAX;
        for _ in 0..20 {
            fewest = fewest.min(process::descriptors(running.pid())?);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { rss_kib: process::rss_kib(running.pid())?, descriptors: fewest })
    }
}

/// Reads the pages now and then; samples from when the tables are full.
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
    use super::{Sample, compared, judge};

    /// Memory in KiB, sample by sample.
    fn grown(memory: &[u64]) -> Vec<String> {
        let samples: Vec<_> = memory.iter().map(|&rss_kib| Sample { rss_kib, descriptors: 20 }).collect();
        let (first, last) = compared(&samples).expect("samples");
        judge(&first, &last, 1024)
    }

    #[test]
    fn reports_growth_but_not_a_jump() {
        let steady: Vec<_> = (0..400).map(|n| 28_000 + n % 7 * 400).collect();
        assert!(grown(&steady).is_empty(), "it goes up and down");
        let leaky: Vec<_> = (0..400).map(|n| 28_000 + n % 7 * 400 + n * 6).collect();
        assert_eq!(grown(&leaky).len(), 1, "1.8 MiB from quarter to quarter");
        assert_eq!(grown(&[28_000, 30_000]).len(), 1, "few samples tell as well");
        assert!(grown(&[28_000]).is_empty());
    }

    #[test]
    fn reports_a_single_leaked_descriptor() {
        let sample = |descriptors| Sample { rss_kib: 1, descriptors };
        assert_eq!(judge(&sample(20), &sample(21), 0).len(), 1);
        assert!(judge(&sample(20), &sample(19), 0).is_empty());
    }
}
