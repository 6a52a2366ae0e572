//! Reads the exact counts out of the per-CPU maps.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray};
use rstwatch_common::counts::{Counted, LOST_PHANTOM, Loss, NO_REASON, REASONS, count_slot, loss_slot};

use super::counts::{KernelCounts, LossStage, MISSED};
use super::load::LoadedObject;
use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::reasons::Reasons;

/// The maps `COUNTS` and `LOSSES`.
pub struct Counters {
    /// Resets by direction and reason.
    counts: PerCpuArray<MapData, u64>,
    /// Resets whose detail did not leave the kernel.
    losses: PerCpuArray<MapData, u64>,
    /// The map `UNTRACKED`.
    untracked: PerCpuArray<MapData, u64>,
    reasons: Reasons,
    /// The programs that count.
    programs: Vec<(Direction, OwnedFd)>,
    sees: Sees,
}

/// What the counts cover.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sees {
    /// No filter rejects any of what the programs missed.
    pub(super) every_namespace: bool,
    /// Every RST that is sent in a watched namespace, firewall rejects among them.
    pub(super) every_sender: bool,
}

/// `reason` of resets for which the kernel gives none: received ones, and all before Linux 6.10.
const NONE: &str = "none";
/// `reason` of firewall rejects. netfilter sends without an `sk_rst_reason`.
const NF_REJECT: &str = "nf_reject";

/// `recursion_misses` of a program (kernel/bpf/syscall.c, bpf_prog_show_fdinfo; since Linux 5.12).
fn recursion_misses(program: &OwnedFd) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    misses_in(&info)
}

fn misses_in(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:")).and_then(|count| count.trim().parse().ok())
}

impl Counters {
    /// Takes the maps out of the object. `programs` count resets, each of one direction.
    pub(super) fn open(
        object: &mut LoadedObject,
        reasons: Reasons,
        programs: Vec<(Direction, OwnedFd)>,
        sees: Sees,
    ) -> anyhow::Result<Self> {
        let counts = object.take_map("COUNTS")?;
        let losses = object.take_map("LOSSES")?;
        let untracked = object.take_map("UNTRACKED")?;
        Ok(Self { counts, losses, untracked, reasons, programs, sees })
    }

    /// Everything counted since the programs were loaded.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read the maps.
    pub fn read(&self) -> anyhow::Result<KernelCounts> {
        // Losses before counts: a reset that is lost between the two reads must not make the parts exceed the whole.
        let missed = if self.sees.every_namespace { self.missed() } else { Vec::new() };
        let mut undelivered = self.undelivered()?;
        // Phantoms first: one that is counted between the two reads must not make the difference smaller.
        let phantoms = self.count(Counted::Phantom, NO_REASON)?;
        let received = self.count(Counted::Received, NO_REASON)?.wrapping_sub(phantoms);
        let mut resets = Vec::new();
        for reason in 0..REASONS {
            let sent = self.count(Counted::Sent, reason)?;
            if sent != 0 {
                resets.push((Direction::Sent, self.reason_label(reason), sent));
            }
        }
        for (direction, missed) in &missed {
            resets.push((*direction, MISSED.into(), *missed));
            undelivered.push((*direction, LossStage::Missed, *missed));
        }
        resets.push((Direction::Sent, NF_REJECT.into(), self.count(Counted::Firewall, NO_REASON)?));
        resets.push((Direction::Received, NONE.into(), received));
        Ok(KernelCounts { resets, undelivered, untracked: sum(&self.untracked, 0)? })
    }

    /// Phantoms whose record left the kernel: the kernel reported a received RST, but none arrived.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read the map.
    pub fn delivered_phantoms(&self) -> anyhow::Result<u64> {
        let lost = self.lost_phantoms()?;
        Ok(self.count(Counted::Phantom, NO_REASON)?.saturating_sub(lost))
    }

    /// Resets of which no record left the kernel; with a filter, those of other namespaces may be among them. `None`: there may
    /// be more, or the maps cannot be read.
    pub fn lost(&self) -> Option<u64> {
        let undelivered: u64 = self.undelivered().ok()?.iter().map(|(_, _, count)| count).sum();
        let missed: u64 = self.programs.iter().map(|(_, program)| recursion_misses(program)).sum::<Option<u64>>()?;
        self.sees.every_sender.then_some(undelivered + missed)
    }

    fn lost_phantoms(&self) -> anyhow::Result<u64> {
        self.count(Counted::Phantom, LOST_PHANTOM)
    }

    fn undelivered(&self) -> anyhow::Result<Vec<(Direction, LossStage, u64)>> {
        // The lost record of a phantom is not the loss of a reset.
        let mut phantoms = self.lost_phantoms()?;
        let mut undelivered = Vec::new();
        for (loss, stage) in [(Loss::RingFull, LossStage::RingFull), (Loss::RateLimited, LossStage::RateLimited)] {
            let sent = self.loss(Counted::Sent, loss)?.wrapping_add(self.loss(Counted::Firewall, loss)?);
            undelivered.push((Direction::Sent, stage, sent));
            let received = self.loss(Counted::Received, loss)?;
            let no_loss = received.min(phantoms);
            phantoms -= no_loss;
            undelivered.push((Direction::Received, stage, received - no_loss));
        }
        Ok(undelivered)
    }

    /// Calls for which the kernel did not run a program because it was already running on that CPU, interrupted.
    fn missed(&self) -> Vec<(Direction, u64)> {
        self.programs.iter().map(|(direction, program)| (*direction, recursion_misses(program).unwrap_or(0))).collect()
    }

    fn reason_label(&self, reason: u32) -> Arc<str> {
        match self.reasons.name(reason) {
            Some(name) => Arc::clone(name),
            None if reason == NO_REASON => NONE.into(),
            None => reason.to_string().into(),
        }
    }

    fn count(&self, counted: Counted, reason: u32) -> anyhow::Result<u64> {
        sum(&self.counts, count_slot(counted, reason))
    }

    fn loss(&self, counted: Counted, loss: Loss) -> anyhow::Result<u64> {
        sum(&self.losses, loss_slot(counted, loss))
    }
}

/// Sums modulo 2^64: what one CPU adds, another may subtract.
fn sum(array: &PerCpuArray<MapData, u64>, slot: u32) -> anyhow::Result<u64> {
    Ok(array.get(&slot, 0)?.iter().fold(0, |total, part| total.wrapping_add(*part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_misses_from_fdinfo() {
        let info = "pos:\t0\nprog_type:\t26\nrecursion_misses:\t17\nverified_insns:\t900\n";
        assert_eq!(misses_in(info), Some(17));
        assert_eq!(misses_in("pos:\t0\n"), None);
    }
}
