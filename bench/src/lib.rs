//! `cargo xtask bench` and `cargo xtask soak`: what rstwatch costs, compared with nothing and with other tools, and whether it
//! survives millions of resets.
//!
//! Each figure is a ratio of alternating measurements of the same work in one run, or a time by the kernel's own clocks.

mod cpu;
mod attack;
mod descriptors;
mod idle;
mod load;
mod measure;
mod network;
mod resets;
pub mod soak;
mod subject;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dev_support::paths;
use dev_support::setup::{self, Purpose};

use self::measure::comparison::Plan;
use self::measure::figures::Figure;
use self::measure::findings::Findings;
use self::measure::{cost, masses, page, rates, size, startup};
use self::subject::idle_programs;
use self::subject::{programs, tool};

/// What `cargo xtask bench` accepts.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// Write docs/performance.md
    #[arg(long, conflicts_with_all = ["try_out", "only"])]
    write: bool,
    /// Measure everything briefly, to check that the bench works; the figures are meaningless
    #[arg(long)]
    try_out: bool,
    /// Measure only this part; repeatable
    #[arg(long = "only", value_name = "PART")]
    only: Vec<Part>,
    /// Seconds of short connections in the part `closes`
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(5..))]
    closes_for: u64,
    /// Write all measurements to this file; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH", default_value = "target/bench.json")]
    json: PathBuf,
    /// The rstwatch to measure, instead of the release build; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH")]
    rstwatch: Option<PathBuf>,
}

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Rates with and without rstwatch
    Rates,
    /// Rates with BPF programs that do nothing
    Floor,
    /// Rates with other tools
    Peers,
    /// Time in the kernel
    Kernel,
    /// Time in the agent
    Agent,
    /// Start to first event
    Start,
    /// A scrape of 10,000 series
    Scrape,
    /// Memory after a million connections
    Memory,
    /// Ten million resets
    Soak,
    /// An attack on memory: as many connections as the machine takes
    Attack,
    /// Ten minutes of short connections, with idle ones among them
    Closes,
}

/// The extent of each part.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rstwatch: Plan,
    peers: Plan,
    /// Repetitions of a measurement that is not a ratio.
    times: usize,
    slice: Duration,
    series: u32,
    connections: u64,
    soak: u64,
    /// Sockets of the attack on memory.
    attack_sockets: u64,
    closes: Duration,
}

impl Extent {
    fn of(args: &BenchArgs) -> Self {
        let plan = |blocks, ms| Plan { blocks, slice: Duration::from_millis(ms) };
        if args.try_out {
            return Self {
                rstwatch: plan(1, 100),
                peers: plan(1, 100),
                times: 2,
                slice: Duration::from_millis(200),
                series: 500,
                connections: 20_000,
                soak: 300_000,
                attack_sockets: 20_000,
                closes: Duration::from_secs(6),
            };
        }
        Self {
            rstwatch: plan(8, 500),
            peers: plan(4, 500),
            times: 7,
            slice: Duration::from_millis(1000),
            series: 10_000,
            connections: 1_000_000,
            soak: 10_000_000,
            attack_sockets: 1_000_000,
            closes: Duration::from_secs(args.closes_for),
        }
    }
}

/// To be called first in `main`: takes the role of a process that the bench starts if the environment requests it, else returns.
pub fn take_role_if_requested() {
    idle_programs::hold_if_requested();
    attack::hold_if_requested();
}

/// Measures. Returns whether every limit is met and there is no fault.
pub fn bench(args: &BenchArgs) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF needs root: sudo env \"PATH=$PATH\" cargo xtask bench");
    }
    programs::check_statistics_off()?;
    descriptors::raise()?;
    setup::ensure(Purpose::Bench)?;
    tool::select_binary(args.rstwatch.as_deref())?;
    let findings = network::isolated(|| measure(args))?;
    let json = paths::root().join(&args.json);
    std::fs::write(&json, serde_json::to_vec_pretty(&findings)?).with_context(|| json.display().to_string())?;
    if args.write {
        page::write(&findings)?;
    }
    Ok(findings.summarize())
}

/// Measures a part.
type Measured<'a> = &'a dyn Fn() -> Result<Vec<Figure>>;

fn measure(args: &BenchArgs) -> Result<Findings> {
    let extent = Extent::of(args);
    let mut findings = Findings::new();
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Rates) {
        rates::rstwatch(extent.rstwatch, &mut findings)?;
    }
    if wanted(Part::Floor) {
        rates::floor(extent.peers, &mut findings)?;
    }
    if wanted(Part::Peers) {
        rates::peers(extent.peers, extent.slice, &mut findings)?;
    }
    let parts: [(Part, Measured<'_>); 6] = [
        (Part::Kernel, &|| cost::in_the_kernel(extent.times, extent.slice)),
        (Part::Agent, &|| cost::in_the_agent(extent.times, extent.slice)),
        (Part::Start, &|| startup::to_first_event(extent.times)),
        (Part::Scrape, &|| size::scrape(extent.series, extent.times)),
        (Part::Memory, &|| size::memory(extent.connections)),
        (Part::Closes, &|| masses::closes(extent.closes)),
    ];
    for (part, measured) in parts {
        if wanted(part) {
            findings.add(measured().with_context(|| format!("{part:?}"))?);
        }
    }
    if wanted(Part::Attack) {
        let result = attack::run(extent.attack_sockets).context("the attack on memory")?;
        findings.wrong.extend(result.faults.iter().cloned());
        findings.add(masses::of_attack(&result));
    }
    if wanted(Part::Soak) {
        let result = soak::run(extent.soak).context("the soak")?;
        findings.wrong.extend(result.faults.iter().cloned());
        findings.add(size::of_soak(&result));
    }
    Ok(findings)
}
