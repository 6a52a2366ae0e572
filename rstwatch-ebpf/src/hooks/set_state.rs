//! `inet_sock_set_state`: a socket's life, kept with the socket. No event leaves from here.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;
use rstwatch_common::record::{role, state};

use crate::kernel::{Base, Typed, setting};
use crate::listeners;
use crate::maps::SOCKETS;
use crate::memory;

/// `trace_inet_sock_set_state(sk, oldstate, newstate)`, net/ipv4/af_inet.c.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    // Numbers, which no verifier types.
    let (old, new) = (ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8);
    if new == state::FIN_WAIT2 || (new == state::SYN_RECV && setting!(sk_storage) == 1) {
        return 0;
    }
    let typed = ctx.arg::<*mut c_void>(0);
    let Some(sk) = Typed::tcp_sock(typed) else { return 0 };
    if new == state::SYN_RECV {
        memory::forget_address(sk);
        return 0;
    }
    if old == state::LISTEN {
        listeners::closed(sk.address());
    }
    let never_connected = new == state::CLOSE && matches!(old, state::CLOSE | state::LISTEN | state::SYN_SENT);
    if never_connected {
        return 0;
    }
    let kept = SOCKETS.get_or_create(typed);
    if kept.is_null() {
        return 0;
    }
    // SAFETY: storage of a socket that the caller holds.
    let kept = unsafe { &mut *kept };
    match (old, new) {
        (_, state::SYN_SENT) => memory::opened(kept, role::CLIENT),
        (_, state::LISTEN) => {
            memory::listens(kept, sk);
            listeners::opened(sk.address(), &kept.owner);
        }
        (_, state::ESTABLISHED) => memory::established(kept, sk),
        (_, state::CLOSE_WAIT) => memory::peer_closed(kept, sk),
        // Only close(), shutdown() and exit lead here, in the context of the one who calls.
        (state::ESTABLISHED | state::SYN_RECV, state::FIN_WAIT1) | (state::CLOSE_WAIT, state::LAST_ACK) => {
            memory::closed_by_owner(kept, sk);
        }
        (_, state::CLOSING) => kept.fin_ns = crate::facts::now(),
        (_, state::CLOSE) => memory::closed(kept, sk, old),
        _ => {}
    }
    0
}
