//! The same work with and without a program beside it, in turns.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::ledger::Ledger;
use super::load::{self, Load};
use super::process::{self, Cpu};
use super::tool::{Running, Tool};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Blocks of two pairs each: without, with; with, without.
    pub(crate) blocks: u32,
    /// How long one measurement takes.
    pub(crate) slice: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) load: Load,
    pub(crate) tool: Tool,
    /// Rates in operations a second.
    pub(crate) without: Vec<f64>,
    pub(crate) with: Vec<f64>,
    /// CPU time of the program for each operation, in nanoseconds.
    pub(crate) cpu_ns: f64,
    /// What was counted wrongly, in sentences.
    pub(crate) miscounts: Vec<String>,
    /// Resets whose counts were compared.
    pub(crate) compared: u64,
}

impl Comparison {
    /// With over without, for each pair.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.with.iter().zip(&self.without).map(|(with, without)| with / without).collect()
    }
}

/// Measures one load with one program.
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
    // Caches, tables and clocks of the machine are warm then.
    load::run(load, plan.slice)?;
    for _ in 0..plan.blocks {
        comparison.without.push(load::run(load, plan.slice)?.rate);
        let running = Running::start(tool, config)?;
        let ledger = if load.resets() && tool == Tool::Rstwatch { Some(Ledger::open()?) } else { None };
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
        if let Some(ledger) = ledger {
            comparison.miscounts.extend(ledger.close(made, 0)?);
            comparison.compared += made;
        }
        drop(running);
        comparison.without.push(load::run(load, plan.slice)?.rate);
    }
    comparison.cpu_ns = per(cpu.total(), count);
    Ok(comparison)
}

/// Nanoseconds for each of so many.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(crate) fn per(time: Duration, count: u64) -> f64 {
    if count == 0 { 0.0 } else { time.as_nanos() as f64 / count as f64 }
}

/// The middle one of some numbers; of an even number of them, the mean of both.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), middle.checked_sub(1).and_then(|lower| sorted.get(lower))) {
        (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => f64::midpoint(*upper, *lower),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (numbers, middle) in
            [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0, 2.0, 3.0], 2.5), (&[7.0], 7.0), (&[1.0, 2.0], 1.5)]
        {
            assert!((median(numbers) - middle).abs() < 1e-9, "{numbers:?}");
        }
        assert!(median(&[]).is_nan());
    }
}
