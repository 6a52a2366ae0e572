//! `early_drop`: the conntrack table is full, and a new connection wants an entry (net/netfilter/nf_conntrack_core.c).

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use core::ffi::c_void;

use crate::facts;
use crate::kernel::{argument, register};
use crate::maps::{CONNTRACK_EVER_FULL, CONNTRACK_FULL};
use crate::netns;

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
    let netns = netns::netns_of_net(argument(ctx, 0));
    if facts::watched(netns) {
        let _ = CONNTRACK_FULL.insert(&netns, &facts::now(), 0);
        if let Some(ever) = CONNTRACK_EVER_FULL.get_ptr_mut(0) {
            // SAFETY: a slot of the map; who writes there writes the same.
            unsafe { *ever = 1 };
        }
    }
    0
}
