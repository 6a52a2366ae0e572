//! The same work with and without a tool, alternating.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::numbers::nanos_per;
use crate::load::{self, Load};
use crate::subject::conservation::ConservationCheck;
use crate::subject::process::{self, Cpu};
use crate::subject::tool::{Running, Tool};

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Blocks of two pairs each: without, with, with, without.
    pub(crate) blocks: u32,
    /// Duration of one measurement.
    pub(crate) slice: Duration,
}

/// Rates of one load with and without one tool.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) load: Load,
    pub(crate) tool: Tool,
    /// Rates in operations a second.
    pub(crate) without: Vec<f64>,
    pub(crate) with: Vec<f64>,
    /// CPU time of the tool per operation, in nanoseconds.
    pub(crate) cpu_ns: f64,
    /// A sentence for each wrong count.
    pub(crate) miscounts: Vec<String>,
    /// Number of resets that were compared with the counts.
    pub(crate) compared: u64,
}

impl Comparison {
    /// Rate with the tool divided by the rate without, per pair.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.with.iter().zip(&self.without).map(|(with, without)| with / without).collect()
    }
}

/// Measures one load with one tool.
pub(crate) fn compare(load: Load, tool: Tool, config: Option<&Path>, plan: Plan) -> Result<Comparison> {
    let mut comparison = Comparison {
        load,
        tool,
        without: Vec::new(),
        with: Vec::new(),
        cpu_ns: 0.0,
        miscounts: Vec::new(),
        compared: 0,
    };
    let (mut cpu, mut count) = (Cpu::default(), 0);
    // Warms up caches, tables and clock frequencies.
    load::run(load, plan.slice)?;
    for _ in 0..plan.blocks {
        comparison.without.push(load::run(load, plan.slice)?.rate);
        let running = Running::start(tool, config)?;
        let check = if load.resets() && tool == Tool::Rstwatch { Some(ConservationCheck::begin()?) } else { None };
        let before = process::cpu(running.pid())?;
        let mut made = 0;
        for _ in 0..2 {
            let done = load::run(load, plan.slice)?;
            comparison.with.push(done.rate);
            made += done.count;
        }
        let after = process::cpu(running.pid())?.since(before);
        cpu = Cpu { user: cpu.user + after.user, system: cpu.system + after.system };
        count += made;
        if let Some(check) = check {
            comparison.miscounts.extend(check.end(made, 0)?);
            comparison.compared += made;
        }
        drop(running);
        comparison.without.push(load::run(load, plan.slice)?.rate);
    }
    comparison.cpu_ns = nanos_per(cpu.total(), count);
    Ok(comparison)
}
