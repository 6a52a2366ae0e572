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

/// Time in the kernel per call of each program, and what of it is above a program that does nothing.
pub(crate) fn in_the_kernel(times: usize, slice: Duration) -> Result<Vec<Figure>> {
    let config = config_file(ALL_DETAILS)?;
    let mut seen = Kernel::default();
    for _ in 0..times {
        seen.measure(config.path(), slice)?;
    }
    Ok(seen.figures())
}

/// Nanoseconds of each measurement.
#[derive(Default)]
struct Kernel {
    empty: Vec<f64>,
    set_state: Above,
    sent: Above,
    received: Above,
    ingress: Vec<f64>,
    /// The sum over all programs, per reset seen at both ends.
    per_reset: Vec<f64>,
    /// `tcp_send_reset` in a flood, most of whose details stay behind.
    shipped: Vec<f64>,
    /// Per cent of the events.
    delivered: Vec<f64>,
}

impl Kernel {
    fn measure(&mut self, config: &Path, slice: Duration) -> Result<()> {
        let running = Running::start(Tool::NothingWithoutPackets, None)?;
        let empty = Seen::during(&running, Load::Short, slice)?.mean_of_all();
        self.empty.push(empty);
        drop(running);
        let running = Running::start(Tool::Rstwatch, Some(config))?;
        let seen = Seen::during(&running, Load::Short, slice)?;
        self.set_state.extend(seen.mean("inet_sock_set_state"), empty);
        self.ingress.extend(seen.mean("ingress"));
        for load in [Load::Refused, Load::Aborted] {
            let before = Counts::now()?;
            let seen = Seen::during(&running, load, slice)?;
            let counted = settled(before)?;
            self.delivered.push(share(counted.events, counted.all()));
            self.sent.extend(seen.mean("tcp_send_reset"), empty);
            self.received.extend(seen.mean("tcp_receive_reset"), empty);
            self.per_reset.push(seen.per_operation());
        }
        drop(running);
        let running = Running::start(Tool::Rstwatch, None)?;
        self.shipped.extend(Seen::during(&running, Load::Aborted, slice)?.mean("tcp_send_reset"));
        Ok(())
    }

    fn figures(&self) -> Vec<Figure> {
        let ns = |what: &str, of: &[f64]| Figure::median(what, "ns", of);
        let above = |what: &str, of: &Above, most: f64| {
            ns(&format!("{what}: above an empty program"), &of.above).limited(Limit::AtMost(most))
        };
        let mut figures = vec![
            above("inet_sock_set_state, short connections", &self.set_state, 60.0),
            above("tcp_send_reset, all details delivered", &self.sent, 300.0),
            above("tcp_receive_reset, all details delivered", &self.received, 250.0),
            ns("an empty program: mean time of a call", &self.empty),
            ns("inet_sock_set_state, short connections: mean time of a call", &self.set_state.all),
            ns("tcp_send_reset, all details delivered: mean time of a call", &self.sent.all),
            ns("tcp_receive_reset, all details delivered: mean time of a call", &self.received.all),
            Figure::median("events delivered of those made while the two were measured", "%", &self.delivered),
            ns("tcp_send_reset in a flood, rates as shipped: mean time of a call", &self.shipped),
            ns("all programs together, per reset seen at both ends", &self.per_reset),
        ];
        if !self.ingress.is_empty() {
            figures.push(ns("packet program, short connections: mean time of a packet", &self.ingress));
        }
        figures
    }
}

/// Mean times of a call, and what of them is above a program that does nothing, in the same round.
#[derive(Default)]
struct Above {
    all: Vec<f64>,
    above: Vec<f64>,
}

impl Above {
    fn extend(&mut self, mean: Option<f64>, empty: f64) {
        self.all.extend(mean);
        self.above.extend(mean.map(|mean| mean - empty));
    }
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

    /// Nanoseconds per call of any program.
    fn mean_of_all(&self) -> f64 {
        let (time, calls) = self.deltas().fold((0, 0), |sum, (_, time, calls)| (sum.0 + time, sum.1 + calls));
        nanos_per(Duration::from_nanos(time), calls)
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
        Figure::median("the agent's user time for an event", "µs", &user).limited(Limit::AtMost(1.5)),
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
