//! `inet_sock_set_state`: a socket's life, as far as a reset may ask for it. No event leaves from here.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;
use rstwatch_common::record::{role, state};

use crate::kernel::{Base, Typed};
use crate::listeners;
use crate::memory;
use crate::sockets;

/// `trace_inet_sock_set_state(sk, oldstate, newstate)`, net/ipv4/af_inet.c.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    // Numbers, which no verifier types.
    let (old, new) = (ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8);
    // A simultaneous open passes SYN_RECV too; a child has its listener's state before, whatever that is by now.
    if new == state::FIN_WAIT2 || (new == state::SYN_RECV && old == state::SYN_SENT) {
        return 0;
    }
    let typed = ctx.arg::<*mut c_void>(0);
    let Some(sk) = Typed::tcp_sock(typed) else { return 0 };
    if new == state::CLOSE && matches!(old, state::CLOSE | state::LISTEN | state::SYN_SENT) {
        if old == state::LISTEN {
            listeners::closed(sk.address());
        }
        sockets::end(typed);
        return 0;
    }
    if new == state::LISTEN {
        listeners::opened(sk.address());
    }
    let begins = matches!(new, state::SYN_SENT | state::LISTEN | state::SYN_RECV);
    let kept = if begins { sockets::begin(typed) } else { sockets::get_or_create(typed) };
    if kept.is_null() {
        return 0;
    }
    // SAFETY: a place of the table, or storage of a socket that the caller holds.
    let kept = unsafe { &mut *kept };
    match (old, new) {
        (_, state::SYN_SENT) => memory::opened(kept, role::CLIENT),
        (_, state::LISTEN) => memory::opened(kept, role::LISTENER),
        (_, state::SYN_RECV) => memory::born(kept, sk),
        (_, state::ESTABLISHED) => memory::established(kept, sk, old),
        (_, state::CLOSE_WAIT) => memory::peer_closed(kept, sk),
        // Only close(), shutdown() and exit lead here, in the context of the one who calls.
        (state::ESTABLISHED | state::SYN_RECV, state::FIN_WAIT1) | (state::CLOSE_WAIT, state::LAST_ACK) => {
            memory::closed_by_owner(kept, sk);
        }
        (_, state::CLOSING) => kept.fin_ns = crate::facts::now(),
        (_, state::CLOSE) => {
            memory::closed(kept, sk, old);
            sockets::end(typed);
        }
        _ => {}
    }
    0
}
