//! Scrape duration by the number of series, memory by the number of connections, and the figures of a soak.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use dev_support::cgroups;

use super::cost::settled;
use super::figures::{Figure, Limit};
use crate::cpu::{self, pin};
use crate::load::{self, set_process_name};
use crate::soak::SoakResult;
use crate::subject::process;
use crate::subject::tool::{ALL_DETAILS, Running, Tool, config_file};
use crate::subject::web::{Counts, get};

/// Duration of a scrape with this many series of resets.
pub(crate) fn scrape(series: u32, times: usize) -> Result<Vec<Figure>> {
    let config = config_file(&format!("workload_limit = 100000\n{ALL_DETAILS}"))?;
    let _running = Running::start(Tool::Rstwatch, Some(config.path()))?;
    // Otherwise all resets would be attributed to the unit or container that runs the bench.
    cgroups::leave_all();
    let before = Counts::now()?;
    (0..series).try_for_each(named_refused)?;
    settled(before)?;
    set_process_name("xtask")?;
    let (mut took, mut found) = (Vec::new(), 0);
    for _ in 0..times.max(9) {
        let began = Instant::now();
        let page = get("/metrics")?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        found = page.lines().filter(|line| line.starts_with("rstwatch_resets_total{")).count();
    }
    ensure!(found >= series as usize, "{series} programs made resets, but the page has {found} series of them");
    let figure = Figure::median(format!("scrape of {found} series of resets"), "ms", &took);
    Ok(vec![figure.limited(Limit::AtMost(20.0))])
}

fn named_refused(number: u32) -> Result<()> {
    set_process_name(&format!("w{number}"))?;
    load::refused((Ipv4Addr::LOCALHOST, 1).into())
}

/// Memory after this many connections, each with its own addresses or ports and with all details delivered.
pub(crate) fn memory(connections: u64) -> Result<Vec<Figure>> {
    let config = config_file(ALL_DETAILS)?;
    let running = Running::start(Tool::Rstwatch, Some(config.path()))?;
    let before = Counts::now()?;
    let at_start = process::rss_kib(running.pid())?;
    let cpus = cpu::available();
    let each = connections.div_ceil(cpus.len() as u64);
    thread::scope(|scope| {
        let workers: Vec<_> = cpus.iter().map(|cpu| scope.spawn(move || distinct(*cpu, each))).collect();
        let panicked = |_| Err(anyhow!("a worker panicked"));
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(panicked))
    })?;
    let counted = settled(before)?;
    let rss = process::rss_kib(running.pid())?;
    let what = format!("memory after {} resets of {connections} connections", counted.all());
    Ok(vec![
        Figure::new("memory at the start", "MiB", mib(at_start)),
        Figure::new(what, "MiB", mib(rss)).limited(Limit::AtMost(24.0)),
    ])
}

/// Figures of a soak.
pub(crate) fn of_soak(result: &SoakResult) -> Vec<Figure> {
    let SoakResult { events, judged, seconds, rss_kib, descriptors, .. } = result;
    let growth = mib(rss_kib.1) - mib(rss_kib.0);
    let opened = descriptors.1.saturating_sub(descriptors.0);
    vec![
        Figure::new(
            format!("soak of {events} resets: growth of memory from the first quarter to the last"),
            "MiB",
            growth,
        )
        .limited(Limit::AtMost(1.0)),
        Figure::new("soak: growth of the number of descriptors", "", of_count(opened as u64))
            .limited(Limit::AtMost(0.0)),
        Figure::new("soak: memory at the end", "MiB", mib(rss_kib.1)),
        Figure::new("soak: resets that were judged one by one", "", of_count(*judged)),
        Figure::new("soak: resets a second", "", of_count(*events) / seconds),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(crate) fn of_count(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Makes connections to distinct loopback addresses, of which there are 16 million, and aborts them.
fn distinct(cpu: usize, count: u64) -> Result<()> {
    pin(cpu)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    for number in 0..count {
        let low = u32::try_from(number & 0x00ff_ffff)? % 0x00ff_fff0;
        load::abort(&listener, (Ipv4Addr::from(0x7f00_0001 + low), port).into())?;
    }
    Ok(())
}
