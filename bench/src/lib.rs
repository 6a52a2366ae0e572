//! `cargo xtask bench`: what rstwatch costs, against nothing at all and against what people use today.
//!
//! Each figure is a ratio of measurements that take turns in one run, or a time by the kernel's own clocks. The same work is
//! done each time.

mod arena;
mod bpf;
mod cost;
mod figures;
mod floor;
mod ledger;
mod load;
mod machine;
mod page;
mod pairs;
mod process;
mod programs;
mod rates;
mod size;
pub mod soak;
mod start;
mod tool;
mod web;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dev_support::paths;
use dev_support::setup::{self, Purpose};
use serde::Serialize;

use self::figures::Figure;
pub use self::floor::floor_if_asked;
use self::machine::Machine;
use self::pairs::{Comparison, Plan};

/// What `cargo xtask bench` accepts.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// Write docs/performance.md
    #[arg(long, conflicts_with_all = ["try_out", "only"])]
    write: bool,
    /// Little of everything, to see that it works: the figures mean nothing
    #[arg(long)]
    try_out: bool,
    /// Only this part; repeatable
    #[arg(long = "only", value_name = "PART")]
    only: Vec<Part>,
    /// Write everything that was measured to this file; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH", default_value = "target/bench.json")]
    json: PathBuf,
    /// The rstwatch to measure, instead of the release build; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH")]
    rstwatch: Option<PathBuf>,
}

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Rates with and without
    Rates,
    /// Rates with programs that do nothing
    Floor,
    /// Peers' rates
    Peers,
    /// Time in the kernel
    Kernel,
    /// Time in the agent
    Agent,
    /// Start to first event
    Start,
    /// A page of 10,000 series
    Scrape,
    /// Memory after a million connections
    Memory,
    /// Ten million resets
    Soak,
}

/// How much is measured of everything.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rstwatch: Plan,
    peers: Plan,
    /// Of a measurement that is no ratio.
    times: usize,
    slice: Duration,
    series: u32,
    connections: u64,
    soak: u64,
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
        }
    }
}

/// Everything that was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    machine: Machine,
    figures: Vec<Figure>,
    comparisons: Vec<Comparison>,
    /// Whether something looked at each packet.
    packets: Option<bool>,
    /// What must be right and is not, in sentences.
    wrong: Vec<String>,
}

/// Measures; says whether every promise is kept.
pub fn bench(args: &BenchArgs) -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF needs root: sudo env \"PATH=$PATH\" cargo xtask bench");
    }
    programs::nobody_measures()?;
    setup::ensure(Purpose::Bench)?;
    tool::choose(args.rstwatch.as_deref())?;
    let findings = arena::inside(|| measure(args))?;
    let json = paths::root().join(&args.json);
    std::fs::write(&json, serde_json::to_vec_pretty(&findings)?).with_context(|| json.display().to_string())?;
    if args.write {
        page::write(&findings)?;
    }
    Ok(judge(&findings))
}

/// How a part comes to its figures.
type Measured<'a> = &'a dyn Fn() -> Result<Vec<Figure>>;

fn measure(args: &BenchArgs) -> Result<Findings> {
    let extent = Extent::of(args);
    let mut findings = Findings { machine: Machine::read(), ..Findings::default() };
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
    let parts: [(Part, Measured<'_>); 5] = [
        (Part::Kernel, &|| cost::in_the_kernel(extent.times, extent.slice)),
        (Part::Agent, &|| cost::in_the_agent(extent.times, extent.slice)),
        (Part::Start, &|| start::to_first_event(extent.times)),
        (Part::Scrape, &|| size::scrape(extent.series, extent.times)),
        (Part::Memory, &|| size::memory(extent.connections)),
    ];
    for (part, measured) in parts {
        if wanted(part) {
            findings.add(measured().with_context(|| format!("{part:?}"))?);
        }
    }
    if wanted(Part::Soak) {
        let soaked = soak::run(extent.soak).context("the soak")?;
        findings.wrong.extend(soaked.wrong.iter().cloned());
        findings.add(size::of_soak(&soaked));
    }
    Ok(findings)
}

impl Findings {
    /// Takes figures, and shows them.
    fn add(&mut self, figures: Vec<Figure>) {
        for figure in figures {
            println!("{}", figure.line());
            self.figures.push(figure);
        }
    }
}

fn judge(findings: &Findings) -> bool {
    for wrong in &findings.wrong {
        println!("WRONG     {wrong}");
    }
    let missed = findings.figures.iter().filter(|figure| figure.met() == Some(false)).count();
    let met = findings.figures.iter().filter(|figure| figure.met() == Some(true)).count();
    println!("{met} met, {missed} missed, {} wrong", findings.wrong.len());
    missed == 0 && findings.wrong.is_empty()
}
