//! fentry on `tcp_send_challenge_ack`: a socket did not accept a segment, an RST among others.

use core::ffi::c_void;

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::conn_state::{lifecycle, slots};
use crate::facts::clock::now;

/// `tcp_send_challenge_ack(sk[, skb | accecn])`, net/ipv4/tcp_input.c (RFC 5961 section 3).
#[fentry(function = "tcp_send_challenge_ack")]
pub fn tcp_send_challenge_ack(ctx: FEntryContext) -> i32 {
    let typed = ctx.arg::<*mut c_void>(0);
    if typed.is_null() {
        return 0;
    }
    // SAFETY: the state of a socket that the caller holds.
    if let Some(conn) = unsafe { slots::get(typed).as_mut() } {
        lifecycle::challenged(conn, now());
    }
    0
}
