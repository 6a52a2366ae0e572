//! Cost of an event: in the kernel, by its statistics of BPF programs; in the agent, by its CPU time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::figures::{Figure, Limit};
use super::numbers::{median, nanos_per};
use crate::load::{self, Load};
use crate::subject::process;
use crate::subject::programs::{self, Program, Statistics};
use crate::subject::tool::{ALL_DETAILS, Running, Tool, config_file};
use crate::subject::web::Counts;

/// Time in the kernel per call of each program.
pub(crate) fn in_the_kernel(times: usize, slice: Duration) -> Result<Vec<Figure>> {
    let config = config_file(ALL_DETAILS)?;
    let mut figures = Vec::new();
    let changes = "inet_sock_set_state, short connections: mean time of a call";
    let (mut set_state, mut ingress) = (Vec::new(), Vec::new());
    let (mut sent, mut received, mut shipped, mut per_reset) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut delivered = Vec::new();
    for _ in 0..times {
        let running = Running::start(Tool::Rstwatch, Some(config.path()))?;
        let seen = Seen::during(&running, Load::Short, slice)?;
        set_state.extend(seen.mean("inet_sock_set_state"));
        ingress.extend(seen.mean("ingress"));
        for load in [Load::Refused, Load::Aborted] {
            let before = Counts::now()?;
            let seen = Seen::during(&running, load, slice)?;
            let counted = settled(before)?;
            delivered.push(share(counted.events, counted.all()));
            sent.extend(seen.mean("tcp_send_reset"));
            received.extend(seen.mean("tcp_receive_reset"));
            per_reset.push(seen.per_operation());
        }
        drop(running);
        let running = Running::start(Tool::Rstwatch, None)?;
        shipped.extend(Seen::during(&running, Load::Aborted, slice)?.mean("tcp_send_reset"));
    }
    figures.push(Figure::median(changes, "ns", &set_state).limited(Limit::AtMost(150.0)));
    figures.push(
        Figure::median("tcp_send_reset, all details delivered: mean time of a call", "ns", &sent)
            .limited(Limit::AtMost(500.0)),
    );
    figures.push(
        Figure::median("tcp_receive_reset, all details delivered: mean time of a call", "ns", &received)
            .limited(Limit::AtMost(500.0)),
    );
    figures.push(Figure::median("events delivered of those made while the two were measured", "%", &delivered));
    figures.push(Figure::median("tcp_send_reset in a flood, rates as shipped: mean time of a call", "ns", &shipped));
    figures.push(Figure::median("all programs together, for a reset that both ends see", "ns", &per_reset));
    if !ingress.is_empty() {
        figures.push(Figure::median("packet program, short connections: mean time of a packet", "ns", &ingress));
    }
    Ok(figures)
}

/// What BPF programs did during a load.
pub(crate) struct Seen {
    before: Vec<Program>,
    after: Vec<Program>,
    /// Number of operations.
    pub(crate) count: u64,
}

impl Seen {
    pub(crate) fn during(running: &Running, load: Load, time: Duration) -> Result<Self> {
        let _statistics = Statistics::on()?;
        let ids = process::bpf_programs(running.pid())?;
        let before = programs::of(&ids)?;
        let count = load::run(load, time)?.count;
        Ok(Self { before, after: programs::of(&ids)?, count })
    }

    /// Name, time and calls of each program.
    fn deltas(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.after.iter().map(|after| {
            let before = self.before.iter().find(|before| before.id == after.id);
            let (time, calls) = before.map_or((0, 0), |before| (before.run_time_ns, before.run_cnt));
            (after.name.as_str(), after.run_time_ns - time, after.run_cnt - calls)
        })
    }

    /// Nanoseconds per call of the program with this name.
    fn mean(&self, name: &str) -> Option<f64> {
        // The kernel keeps fifteen bytes of a name; some versions of bpftool read the whole one from the program's BTF.
        let kept = name.get(..15).unwrap_or(name);
        let (_, time, calls) = self.deltas().find(|(of, _, calls)| of.get(..15).unwrap_or(of) == kept && *calls > 0)?;
        Some(nanos_per(Duration::from_nanos(time), calls))
    }

    /// Nanoseconds of all programs per operation of the load.
    pub(crate) fn per_operation(&self) -> f64 {
        nanos_per(Duration::from_nanos(self.deltas().map(|(_, time, _)| time).sum()), self.count)
    }
}

/// CPU time of the agent per event that it delivers.
pub(crate) fn in_the_agent(times: usize, slice: Duration) -> Result<Vec<Figure>> {
    let config = config_file(ALL_DETAILS)?;
    let (mut user, mut all, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let running = Running::start(Tool::Rstwatch, Some(config.path()))?;
        let (cpu_before, counts_before) = (process::cpu(running.pid())?, Counts::now()?);
        load::run(Load::Aborted, slice)?;
        let counted = settled(counts_before)?;
        let spent = process::cpu(running.pid())?.since(cpu_before);
        user.push(nanos_per(spent.user, counted.events) / 1e3);
        all.push(nanos_per(spent.total(), counted.events) / 1e3);
        delivered.push(share(counted.events, counted.all()));
    }
    Ok(vec![
        Figure::median("the agent's user time for an event", "µs", &user).limited(Limit::AtMost(2.0)),
        Figure::median("the agent's user and system time for an event", "µs", &all),
        Figure::new("events delivered of those made while this was measured", "%", median(&delivered)),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// The counts since an earlier reading, once they no longer change and equal the kernel's.
pub(crate) fn settled(since: Counts) -> Result<Counts> {
    let mut last = Counts::now()?;
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(100));
        let now = Counts::now()?;
        if now == last && now.all() == now.kernel {
            return Ok(now.since(since));
        }
        last = now;
    }
    bail!("the agent's counts do not settle")
}

/// CPU time of a tool's process, and run time of its BPF programs, in nanoseconds per reset.
pub(crate) fn of_a_reset(tool: Tool, slice: Duration, config: Option<&Path>) -> Result<(f64, f64)> {
    let running = Running::start(tool, config)?;
    let before = process::cpu(running.pid())?;
    let seen = Seen::during(&running, Load::Refused, slice)?;
    let spent = process::cpu(running.pid())?.since(before);
    Ok((nanos_per(spent.total(), seen.count), seen.per_operation()))
}
