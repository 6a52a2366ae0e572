//! `cargo xtask soak`: the agent under a flood of all sorts, for a day's worth of events; killed and stopped at bad moments.
//!
//! Memory and descriptors must not grow, no count may be lost, and nothing may stay attached.

mod crowd;
mod ends;
mod traffic;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::crowd::Crowd;
use self::traffic::Traffic;
use crate::bench::ledger::Ledger;
use crate::bench::tool::{self, Running, Tool};
use crate::bench::web::{self, Counts};
use crate::bench::{arena, config, process};
use crate::lab;
use crate::setup::{self, Purpose};

/// What `cargo xtask soak` accepts.
#[derive(clap::Args, Debug)]
pub(crate) struct SoakArgs {
    /// How many resets, sent and received
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(300_000..))]
    events: u64,
    /// The rstwatch to test, instead of the release build; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH")]
    rstwatch: Option<PathBuf>,
}

/// Every detail is wanted; the buffers are as they are shipped, so a flood overruns them.
const CONFIG: &str = "detail_rate_per_second = 1000000\ndetail_burst = 1000000\n";
/// What memory may grow after the first sample, in a run that is long enough to tell: the allocator's pools still settle in
/// the first millions.
const GROWTH_KIB: u64 = 1024;
/// The same in a shorter one.
const SHORT_GROWTH_KIB: u64 = 4 * GROWTH_KIB;
/// A run of so many resets is long.
const LONG: u64 = 5_000_000;
/// Until then tables fill up to their bounds: so many resets at least.
const FILLS: u64 = 250_000;
const TICK: Duration = Duration::from_millis(250);

/// What a soak found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Soaked {
    /// Resets, sent and received.
    pub(crate) events: u64,
    /// Those of them that were judged one by one; the others were counted.
    pub(crate) judged: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// Memory in KiB after a tenth (but when the tables are full), and at the end.
    pub(crate) rss_kib: (u64, u64),
    /// Descriptors at the same moments.
    pub(crate) descriptors: (usize, usize),
    /// What was wrong, in sentences.
    pub(crate) wrong: Vec<String>,
}

/// Soaks; says whether all was well.
pub(crate) fn soak(args: &SoakArgs) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF needs root: sudo env \"PATH=$PATH\" cargo xtask soak");
    }
    setup::ensure(Purpose::Soak)?;
    tool::choose(args.rstwatch.as_deref())?;
    let soaked = arena::inside(|| {
        let mut wrong = ends::killed()?;
        wrong.extend(ends::stopped()?);
        let mut soaked = run(args.events)?;
        soaked.wrong.splice(0..0, wrong);
        Ok(soaked)
    })?;
    soaked.print();
    Ok(soaked.wrong.is_empty())
}

impl Soaked {
    /// In a few lines.
    pub(crate) fn print(&self) {
        let Self { events, judged, seconds, rss_kib, descriptors, wrong } = self;
        println!("{events} resets in {seconds:.1} s, {judged} of them judged one by one, the others counted");
        println!("memory {} KiB after the beginning, {} KiB at the end", rss_kib.0, rss_kib.1);
        println!("descriptors {} after the beginning, {} at the end", descriptors.0, descriptors.1);
        wrong.iter().for_each(|wrong| println!("WRONG  {wrong}"));
    }
}

/// The long run: so many resets of every cause, by many programs, between many addresses, in namespaces and at listeners that
/// come and go, while others read what the agent serves. To be called inside an arena.
pub(crate) fn run(events: u64) -> Result<Soaked> {
    let config = config(CONFIG)?;
    let running = Running::start(Tool::Rstwatch, Some(config.path()))?;
    // In a unit or a container all programs would have that one's name.
    lab::leave_cgroups();
    let _crowd = Crowd::gather()?;
    let ledger = Ledger::open()?;
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
    let mut wrong = ledger.close(0, made)?;
    let counts = Counts::now()?;
    samples.push(Sample::of(&running)?);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { bail!("nothing was sampled") };
    let soaked = Soaked {
        events: counts.all(),
        judged: counts.events,
        seconds,
        rss_kib: (first.rss_kib, last.rss_kib),
        descriptors: (first.descriptors, last.descriptors),
        wrong: Vec::new(),
    };
    wrong.extend(judge(first, last, if events < LONG { SHORT_GROWTH_KIB } else { GROWTH_KIB }));
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
    // Fewer are right: who never reads is cut off some time.
    if last.descriptors > first.descriptors {
        wrong.push(format!("descriptors grew from {} to {}", first.descriptors, last.descriptors));
    }
    wrong
}

/// What the agent holds at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rss_kib: u64,
    descriptors: usize,
}

impl Sample {
    fn of(running: &Running) -> Result<Self> {
        // The agent closes what a page was asked on a little after its answer.
        let mut fewest = usize::MAX;
        for _ in 0..20 {
            fewest = fewest.min(process::descriptors(running.pid())?);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { rss_kib: process::rss_kib(running.pid())?, descriptors: fewest })
    }
}

/// Reads the pages now and then; samples once the tables are full.
fn sample_until_done(running: &Running, traffic: &Traffic, samples: &mut Vec<Sample>) -> Result<()> {
    while !traffic.is_done() {
        for path in ["/metrics", "/", "/api/v1/status", "/api/v1/events"] {
            web::get(path)?;
        }
        if samples.is_empty() && traffic.has_begun() {
            samples.push(Sample::of(running)?);
        }
        thread::sleep(TICK);
    }
    if samples.is_empty() {
        samples.push(Sample::of(running)?);
    }
    Ok(())
}
