//! fentry on `tcp_finish_connect`: the TTL of the peer's SYN-ACK, with which an RST's is compared.

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::conn_state::slots;
use crate::facts::segment::{self, Seen};
use crate::kernel::argument;

/// `tcp_finish_connect(sk, skb)`, net/ipv4/tcp_input.c. It sets ESTABLISHED afterwards. `skb` is NULL for TCP_REPAIR.
#[fentry(function = "tcp_finish_connect")]
pub fn tcp_finish_connect(ctx: FEntryContext) -> i32 {
    let typed = ctx.arg::<*mut c_void>(0);
    if typed.is_null() {
        return 0;
    }
    let mut seen = Seen::empty();
    if !segment::read_skb(argument(ctx.as_ptr(), 1), &mut seen) {
        return 0;
    }
    // SAFETY: the state of a socket that the caller holds.
    if let Some(conn) = unsafe { slots::get(typed).as_mut() } {
        conn.ttl = seen.segment.ttl;
    }
    0
}
