//! `iter/bpf_sk_storage_map`: looks at each connection every second or so, and finds the idle gaps that it survived.
//!
//! A look costs nothing per packet. A gap is measured from the last payload to the last look that found the connection
//! still quiet: never more than it was, and short of it by less than the time between two looks.

use core::ffi::c_void;
use rstwatch_common::record::{Memory, role, spoke, state};

use crate::facts::{ages_of, jiffies};
use crate::kernel::{setting, value};
use crate::memory;

/// `struct bpf_iter__bpf_sk_storage_map`, net/core/bpf_sk_storage.c; each pointer is aligned to eight bytes.
#[repr(C)]
pub struct SocketStorageEntry {
    meta: u64,
    map: u64,
    sk: *mut c_void,
    value: *mut Memory,
}

/// Runs once for each socket with memory, while the daemon reads the iterator.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub fn sample(ctx: *mut SocketStorageEntry) -> i32 {
    // SAFETY: the context that the kernel passes.
    let (sk, kept) = unsafe { ((*ctx).sk, (*ctx).value) };
    if sk.is_null() || kept.is_null() {
        return 0;
    }
    // SAFETY: the storage of the socket that the iterator holds.
    let kept = unsafe { &mut *kept };
    let sk = sk as u64;
    if kept.role != role::LISTENER && value!(sk, skc_state, u8) == state::ESTABLISHED {
        look(kept, sk);
    }
    0
}

#[inline(always)]
fn spoke_last(sent: u32, received: u32) -> u16 {
    if sent < received {
        spoke::WE
    } else if received < sent {
        spoke::PEER
    } else {
        spoke::NOBODY
    }
}

#[inline(always)]
fn look(kept: &mut Memory, sk: u64) {
    let now = jiffies();
    let ages = ages_of(sk);
    let youngest = if ages.sent < ages.received { ages.sent } else { ages.received };
    let active = now.wrapping_sub(youngest);
    if kept.sampled != 0 && active != kept.active {
        let quiet = kept.sampled.wrapping_sub(kept.active);
        // Signed: a time before the last payload wraps.
        if kept.role == role::CLIENT && quiet as i32 >= setting!(hz) as i32 {
            let answered = now.wrapping_sub(ages.received).wrapping_sub(kept.sampled) as i32 > 0;
            if !answered {
                // Asked, but not yet answered: it may still turn out to be dead.
                return;
            }
            memory::survived(sk, quiet);
        }
    }
    kept.active = active;
    kept.sampled_spoke = spoke_last(ages.sent, ages.received);
    kept.sampled_sent = value!(sk, bytes_sent, u64) as u32;
    kept.sampled_segs = value!(sk, data_segs_out, u32) as u16;
    kept.sampled_segs_in = value!(sk, data_segs_in, u32) as u16;
    kept.sampled = if now == 0 { 1 } else { now };
}
