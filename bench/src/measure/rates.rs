//! Rates of work with rstwatch, with idle programs and with other tools.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::comparison::{Comparison, Plan, compare};
use super::cost;
use super::figures::{Figure, Limit};
use super::findings::Findings;
use crate::load::Load;
use crate::subject::tool::{self, Running, Tool, Tracefs};
use crate::subject::web;

/// Compares the agent with nothing.
pub(crate) fn rstwatch(plan: Plan, findings: &mut Findings) -> Result<()> {
    let packets = looks_at_packets()?;
    findings.packets = Some(packets);
    for load in Load::ALL {
        let comparison = compare(load, Tool::Rstwatch, None, plan).with_context(|| format!("{load:?}"))?;
        findings.add(vec![promised(&comparison)]);
        take(comparison, findings);
    }
    if !packets {
        return Ok(());
    }
    // As on kernels that allow fentry on tcp_reset, where no program sees each packet.
    for load in [Load::Short, Load::Bulk, Load::Small] {
        let comparison = compare(load, Tool::RstwatchWithoutPackets, None, plan)?;
        findings.add(vec![promised(&comparison)]);
        take(comparison, findings);
    }
    Ok(())
}

/// Cost of the calls at these hooks alone, which is the lower bound of what rstwatch can cost.
pub(crate) fn floor(plan: Plan, findings: &mut Findings) -> Result<()> {
    let tool = if looks_at_packets()? { Tool::Nothing } else { Tool::NothingWithoutPackets };
    let mut wanted = [Load::Short, Load::Small, Load::Refused, Load::Aborted].map(|load| (tool, load)).to_vec();
    if tool == Tool::Nothing {
        wanted.push((Tool::NothingWithoutPackets, Load::Short));
    }
    for (tool, load) in wanted {
        let comparison = compare(load, tool, None, plan).with_context(|| format!("{load:?} with {}", tool.name()))?;
        findings.add(vec![ratio(&comparison)]);
        take(comparison, findings);
    }
    Ok(())
}

/// Compares other tools with nothing.
pub(crate) fn peers(plan: Plan, slice: Duration, findings: &mut Findings) -> Result<()> {
    let _tracefs = Tracefs::mounted();
    let of_a_reset = |tool: Tool| -> Result<Vec<Figure>> {
        let (process, kernel) = cost::of_a_reset(tool, slice, None)?;
        let name = tool.name();
        let own = Figure::new(format!("{name}: CPU time of its process for a reset, in a flood"), "ns", process);
        // The kernel has no statistics of a packet socket's work.
        let measured = tool != Tool::Tcpdump;
        let kernel = Figure::new(format!("{name}: time of its BPF programs for a reset, in a flood"), "ns", kernel);
        Ok(if measured { vec![own, kernel] } else { vec![own] })
    };
    findings.add(of_a_reset(Tool::Rstwatch)?);
    for tool in Tool::PEERS {
        if let Err(why) = tool::check_works(tool) {
            findings.add(vec![Figure::skipped(tool.name(), format!("{why:#}"))]);
            continue;
        }
        for load in [Load::Short, Load::Small, Load::Refused, Load::Aborted] {
            match compare(load, tool, None, plan) {
                Ok(comparison) => {
                    findings.add(vec![ratio(&comparison)]);
                    take(comparison, findings);
                }
                // A failing tool is not a fault of rstwatch.
                Err(why) => {
                    findings.add(vec![Figure::skipped(format!("{}: {load:?}", tool.name()), format!("{why:#}"))]);
                }
            }
        }
        match of_a_reset(tool) {
            Ok(figures) => findings.add(figures),
            Err(why) => findings.add(vec![Figure::skipped(tool.name(), format!("{why:#}"))]),
        }
    }
    Ok(())
}

fn take(comparison: Comparison, findings: &mut Findings) {
    findings.wrong.extend(comparison.miscounts.iter().cloned());
    findings.comparisons.push(comparison);
}

fn promised(comparison: &Comparison) -> Figure {
    let least = match comparison.load {
        Load::Short => 0.97,
        Load::Bulk | Load::Small => 0.995,
        Load::Refused => 0.95,
        Load::Aborted => 0.92,
    };
    ratio(comparison).limited(Limit::AtLeast(least))
}

fn ratio(comparison: &Comparison) -> Figure {
    let what = match comparison.load {
        Load::Short => "short connections",
        Load::Bulk => "bulk throughput",
        Load::Small => "round trips of 64 bytes",
        Load::Refused => "refused SYNs",
        Load::Aborted => "aborted connections",
    };
    Figure::median(format!("{}: {what}, rate relative to without", comparison.tool.name()), "", &comparison.ratios())
}

/// Whether the agent attaches a program that sees each packet here.
fn looks_at_packets() -> Result<bool> {
    let _running = Running::start(Tool::Rstwatch, None)?;
    let metrics = web::get("/metrics")?;
    Ok(metrics.lines().any(|line| line.starts_with("rstwatch_probe_attached{probe=\"cgroup_skb\"} 1")))
}
