//! What the programs are told before they are loaded; see `rstwatch-common/src/settings.rs`.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;

use rstwatch_common::settings::Settings;

use super::attach::Limits;
use super::btf::Btf;
use super::scope::Scope;

/// Where `struct pt_regs` keeps the first three arguments of a function (arch/*/include/asm/ptrace.h).
#[cfg(target_arch = "x86_64")]
const ARGUMENT_AT: [u16; 3] = [112, 104, 96];
/// Where `struct pt_regs` keeps the first three arguments of a function (arch/*/include/asm/ptrace.h).
#[cfg(target_arch = "aarch64")]
const ARGUMENT_AT: [u16; 3] = [0, 8, 16];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("tell where pt_regs keeps the arguments of a function on this machine");

/// Whether `tcp_send_reset` has its third argument and shows every sender (Linux 6.10).
pub(super) fn has_reason(btf: &Btf) -> bool {
    btf.tracepoint_arguments("tcp_send_reset").is_some_and(|arguments| arguments >= 3)
}

/// Whether tracing programs may use socket storage (Linux 5.11, net/core/bpf_sk_storage.c).
pub(super) fn has_socket_storage(btf: &Btf) -> bool {
    btf.function_parameters("bpf_sk_storage_get_tracing").is_some()
}

/// The constants of one load.
pub(super) fn settings(btf: &Btf, scope: &Scope, limits: &Limits) -> Settings {
    let interval = 1_000_000_000 / u64::from(limits.rate.max(1));
    let has_reason = has_reason(btf);
    Settings {
        has_reason: has_reason.into(),
        filter_netns: (!scope.netns.is_empty()).into(),
        filter_cgroup: scope.cgroup.is_some().into(),
        sk_storage: has_socket_storage(btf).into(),
        argument_at: ARGUMENT_AT,
        netfilter_drop: drop_reason(btf, "NETFILTER_DROP").unwrap_or(u32::MAX),
        // Without reasons in the event there is nothing to compare with.
        invalid_syn: enumerator(btf, "sk_rst_reason", "SK_RST_REASON_INVALID_SYN")
            .filter(|_| has_reason)
            .unwrap_or(u32::MAX),
        listen_overflow: drop_reason(btf, "TCP_LISTEN_OVERFLOW").unwrap_or(u32::MAX),
        hz: crate::clock::hz(),
        jiffy_us: u64::try_from(crate::clock::jiffy().as_micros()).unwrap_or(u64::MAX),
        cgroup: scope.cgroup.unwrap_or(0),
        detail_interval_ns: interval,
        detail_burst_ns: interval.saturating_mul(limits.burst.into()),
        // The state's keys come from the system's random numbers.
        hash_seed: RandomState::new().hash_one(()),
        ..Settings::UNSET
    }
}

/// The namespace of the host's first process, as far as the agent may ask for it.
pub(super) fn host_netns() -> Option<u32> {
    std::fs::metadata("/proc/1/ns/net").ok().and_then(|found| u32::try_from(found.ino()).ok())
}

/// `SKB_DROP_REASON_*` of this kernel.
pub(super) fn drop_reason(btf: &Btf, name: &str) -> Option<u32> {
    enumerator(btf, "skb_drop_reason", &format!("SKB_DROP_REASON_{name}"))
}

fn enumerator(btf: &Btf, of: &str, wanted: &str) -> Option<u32> {
    btf.enumerators(of)?.into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}
