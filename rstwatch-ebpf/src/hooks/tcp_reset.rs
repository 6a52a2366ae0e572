//! fentry on `tcp_reset`: the header of the RST that is being accepted. Costs nothing per packet.

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use rstwatch_common::record::tcp_flag;

use crate::conn_state::{scratch, share, slots};
use crate::facts::clock::now;
use crate::facts::segment::{self, Seen};
use crate::kernel::{Typed, argument, value};

/// `tcp_reset(sk, skb)`, net/ipv4/tcp_input.c; `skb` since Linux 5.11.
#[fentry(function = "tcp_reset")]
pub fn tcp_reset(ctx: FEntryContext) -> i32 {
    let typed = ctx.arg::<*mut c_void>(0);
    if typed.is_null() {
        return 0;
    }
    let mut seen = Seen::empty();
    if !segment::read_skb(argument(ctx.as_ptr(), 1), &mut seen) {
        return 0;
    }
    // The kernel calls tcp_reset() for data after RCV_SHUTDOWN too.
    if seen.segment.flags & tcp_flag::RST == 0 {
        return 0;
    }
    let Some(sk) = Typed::tcp_sock(typed) else { return 0 };
    let mut conn = slots::get_or_create_open(typed, value!(sk, skc_state, u8), || share::owner_of(sk));
    if conn.is_null() {
        conn = scratch::received_by(typed);
    }
    // SAFETY: the state of a socket that the caller holds, or one of this CPU's.
    if let Some(conn) = unsafe { conn.as_mut() } {
        conn.rst.segment = seen.segment;
        conn.rst.time_ns = now();
    }
    0
}
