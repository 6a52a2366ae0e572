//! The slots of the exact counts in the per-CPU arrays.

/// Reasons counted one by one; a larger one shares the last slot. (Linux 7.1 has 31.)
pub const REASONS: u32 = 64;

/// Slot of "the kernel gave no reason": received resets, firewall rejects, kernels before 6.10.
pub const NO_REASON: u32 = REASONS - 2;

/// Blocks of [`REASONS`] slots in the array `COUNTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counted {
    /// The stack sent an RST.
    Sent = 0,
    /// A socket accepted an RST, phantoms included.
    Received = 1,
    /// netfilter sent an RST.
    Firewall = 2,
    /// Receives that no RST caused: the kernel called tcp_reset() for data after RCV_SHUTDOWN.
    Phantom = 3,
}

/// Slot of the phantoms whose receive record was lost, in the block of [`Counted::Phantom`].
pub const LOST_PHANTOM: u32 = 0;

/// Slots of the array `COUNTS`.
pub const COUNTS_LEN: u32 = 4 * REASONS;

/// The slot of a count.
#[inline(always)]
pub const fn count_slot(counted: Counted, reason: u32) -> u32 {
    let reason = if reason < REASONS { reason } else { REASONS - 1 };
    counted as u32 * REASONS + reason
}

/// The reason why the detail of a counted reset was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// The ring buffer had no room.
    RingFull = 0,
    /// Its kind exceeded the configured rate.
    RateLimited = 1,
}

/// Slots of the array `LOSSES`: [`Loss`] for each [`Counted`].
pub const LOSSES_LEN: u32 = 4 * 2;

/// The slot of a loss.
#[inline(always)]
pub const fn loss_slot(counted: Counted, loss: Loss) -> u32 {
    counted as u32 * 2 + loss as u32
}
