//! Read-only settings of the programs, written before they are loaded; see `rstwatch-common/src/settings.rs`.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;

use rstwatch_common::settings::Settings;

use super::btf::Btf;
use super::clock;
use super::features::{RESET_REASONS, TYPED_HELPERS, drop_reason, enumerator};
use super::scope::Scope;

/// Limits for details of resets that the kernel side sends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Living connections that have a state each: a power of two from 4,096.
    pub connections: u32,
    /// Size of the ring buffer in bytes, rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// Average number of details per second, for each kind of record and each CPU.
    pub rate: u32,
    /// Burst size: the number of details that may come at once.
    pub burst: u32,
}

/// Offsets of a function's first three arguments in `struct pt_regs` (arch/*/include/asm/ptrace.h).
#[cfg(target_arch = "x86_64")]
const ARGUMENT_OFFSETS: [u16; 3] = [112, 104, 96];
/// Offsets of a function's first three arguments in `struct pt_regs` (arch/*/include/asm/ptrace.h).
#[cfg(target_arch = "aarch64")]
const ARGUMENT_OFFSETS: [u16; 3] = [0, 8, 16];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("add the offsets of a function's arguments in pt_regs on this architecture");

/// Computes the settings for this kernel, scope and limits.
pub(super) fn of(btf: &Btf, scope: &Scope, limits: &Limits) -> Settings {
    let interval = 1_000_000_000 / u64::from(limits.rate.max(1));
    let has_reason = RESET_REASONS.is_in(btf);
    Settings {
        has_reason: has_reason.into(),
        filter_netns: scope.netns_filter(),
        filter_cgroup: scope.cgroup.is_some().into(),
        typed_task: TYPED_HELPERS.is_in(btf).into(),
        argument_at: ARGUMENT_OFFSETS,
        connections: limits.connections,
        netfilter_drop: drop_reason(btf, "NETFILTER_DROP").unwrap_or(u32::MAX),
        // Without a reason in the tracepoint, there is nothing to compare.
        invalid_syn: enumerator(btf, "sk_rst_reason", "SK_RST_REASON_INVALID_SYN")
            .filter(|_| has_reason)
            .unwrap_or(u32::MAX),
        listen_overflow: drop_reason(btf, "TCP_LISTEN_OVERFLOW").unwrap_or(u32::MAX),
        hz: clock::hz(),
        cgroup: scope.cgroup.unwrap_or(0),
        detail_interval_ns: interval,
        detail_burst_ns: interval.saturating_mul(limits.burst.into()),
        // The keys of RandomState come from the system's random number generator.
        hash_seed: RandomState::new().hash_one(()),
        ..Settings::UNSET
    }
}

/// The network namespace of process 1, if the agent may read it.
pub(super) fn host_netns() -> Option<u32> {
    std::fs::metadata("/proc/1/ns/net").ok().and_then(|found| u32::try_from(found.ino()).ok())
}
