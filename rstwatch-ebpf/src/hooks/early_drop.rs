//! `early_drop`: the conntrack table is full, and a new connection needs an entry (net/netfilter/nf_conntrack_core.c).

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};

use crate::facts::conntrack::table_is_full;
use crate::facts::netns::{netns_of_net, number_of_net, watched};
use crate::kernel::{argument, register};

/// `early_drop(net, hash)`; called only when the table holds more than nf_conntrack_max entries.
#[fentry(function = "early_drop")]
pub fn early_drop(ctx: FEntryContext) -> i32 {
    full(ctx.as_ptr(), argument)
}

/// The same by a kprobe, where conntrack is a module.
#[kprobe]
pub fn k_early_drop(ctx: ProbeContext) -> u32 {
    full(ctx.as_ptr(), register) as u32
}

#[inline(always)]
fn full(ctx: *mut c_void, argument: fn(*mut c_void, u64) -> u64) -> i32 {
    let net = argument(ctx, 0);
    let netns = netns_of_net(net);
    if watched(netns, || number_of_net(net)) {
        table_is_full(netns);
    }
    0
}
