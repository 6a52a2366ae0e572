//! fentry on `tcp_send_challenge_ack`: a segment that a socket did not believe, an RST among others.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use core::ffi::c_void;

use crate::memory;
use crate::sockets;

/// `tcp_send_challenge_ack(sk[, skb | accecn])`, net/ipv4/tcp_input.c (RFC 5961 section 3).
#[fentry(function = "tcp_send_challenge_ack")]
pub fn tcp_send_challenge_ack(ctx: FEntryContext) -> i32 {
    let typed = ctx.arg::<*mut c_void>(0);
    if typed.is_null() {
        return 0;
    }
    // SAFETY: kept of a socket that the caller holds.
    if let Some(kept) = unsafe { sockets::get(typed).as_mut() } {
        memory::challenged(kept, crate::facts::now());
    }
    0
}
