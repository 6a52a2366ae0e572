//! The attackers: processes of one user that hold connections, as many as memory allows.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::holder::{Holder, Order, most_sockets};
use crate::cpu;

/// Sockets that show what one costs.
const PROBE: u64 = 10_000;
/// What a socket takes at least, in bytes: 4.7 KiB of slabs on Linux 6.18. The first ones may find room that others have left.
const LEAST: u64 = 5 << 10;
/// The part of the available memory that the attackers may take.
const SHARE: u64 = 2;

/// Processes with their connections, which end when this is dropped.
pub(super) struct Attackers {
    holders: Vec<Holder>,
    sockets: u64,
    /// Number of holders, the first ones, that replace their connections at the moment.
    churning: usize,
}

impl Attackers {
    /// Opens at most this many sockets, and no more than fit into half of the available memory.
    pub(super) fn open(most: u64) -> Result<Self> {
        let mut attackers = Self { holders: Vec::new(), sockets: 0, churning: 0 };
        let before = available_kib()?;
        attackers.add(PROBE.min(most))?;
        let left = available_kib()?;
        let bytes = (before.saturating_sub(left) * 1024 / attackers.sockets.max(1)).max(LEAST);
        let room = left * 1024 / SHARE / bytes;
        attackers.add(most.saturating_sub(attackers.sockets).min(room))?;
        println!("          {} sockets open; each was taken to need {bytes} bytes of memory", attackers.sockets);
        Ok(attackers)
    }

    /// Starts holders, as many as needed, and waits for them.
    fn add(&mut self, sockets: u64) -> Result<()> {
        let (first, mut left) = (self.holders.len(), sockets);
        while left > 0 {
            let next = left.min(most_sockets());
            self.holders.push(Holder::start(next)?);
            left -= next;
        }
        for holder in self.holders.iter_mut().skip(first) {
            self.sockets += holder.answer()?;
        }
        Ok(())
    }

    /// Number of open sockets, both ends of each connection.
    pub(super) fn sockets(&self) -> u64 {
        self.sockets
    }

    /// Each holder resets and replaces this many connections. Returns how many all did.
    pub(super) fn reset(&mut self, each: u64) -> Result<u64> {
        self.holders.iter_mut().try_for_each(|holder| holder.order(Order::Reset, each))?;
        self.holders.iter_mut().map(Holder::answer).sum()
    }

    /// Lets one holder for each CPU replace its connections for this long.
    pub(super) fn begin_churn(&mut self, time: Duration) -> Result<()> {
        self.churning = cpu::available().len().min(self.holders.len());
        let milliseconds = u64::try_from(time.as_millis())?;
        self.holders.iter_mut().take(self.churning).try_for_each(|holder| holder.order(Order::Churn, milliseconds))
    }

    /// Waits for it. Returns how many connections were replaced.
    pub(super) fn end_churn(&mut self) -> Result<u64> {
        self.holders.iter_mut().take(self.churning).map(Holder::answer).sum()
    }
}

/// `MemAvailable`, in KiB.
fn available_kib() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("no MemAvailable in /proc/meminfo")
}
