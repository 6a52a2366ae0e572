//! `inet_sock_set_state`: a socket's life, as far as the explanation of a reset may need it. It sends no event.

use core::ffi::c_void;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rstwatch_common::record::{role, state};

use crate::conn_state::scratch::{self, Purpose};
use crate::conn_state::{ends, lifecycle, share, slots};
use crate::facts::clock::now;
use crate::kernel::{Base, Typed};
use crate::listeners;

/// `trace_inet_sock_set_state(sk, oldstate, newstate)`, net/ipv4/af_inet.c.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    // Read as numbers, so no verifier types them.
    let (old, new) = (ctx.arg::<u64>(1) as u8, ctx.arg::<u64>(2) as u8);
    // A simultaneous open passes SYN_RECV too; a child's old state is its listener's current one, whatever that is.
    if new == state::FIN_WAIT2 || (new == state::SYN_RECV && old == state::SYN_SENT) {
        return 0;
    }
    let typed = ctx.arg::<*mut c_void>(0);
    let Some(sk) = Typed::tcp_sock(typed) else { return 0 };
    if new == state::CLOSE && matches!(old, state::CLOSE | state::LISTEN) {
        if old == state::LISTEN {
            listeners::closed(sk.address());
        }
        slots::remove(typed);
        return 0;
    }
    if new == state::LISTEN {
        listeners::opened(sk.address());
    }
    let begins = matches!(new, state::SYN_SENT | state::LISTEN | state::SYN_RECV);
    let owner = || share::owner_of(sk);
    let conn = if begins { slots::begin(typed, owner()) } else { slots::get_or_create_open(typed, old, owner) };
    if conn.is_null() {
        if new == state::FIN_WAIT1
            // SAFETY: a slot of this CPU's.
            && let Some(conn) = unsafe { scratch::empty(Purpose::Closed).as_mut() }
        {
            lifecycle::closed_without_slot(conn, sk, owner());
        }
        return 0;
    }
    // SAFETY: a slot of the table.
    let conn = unsafe { &mut *conn };
    if !begins && new != state::ESTABLISHED {
        lifecycle::met_late(conn, sk);
    }
    match (old, new) {
        (_, state::SYN_SENT) => lifecycle::opened(conn, role::CLIENT),
        (_, state::LISTEN) => lifecycle::opened(conn, role::LISTENER),
        (_, state::SYN_RECV) => lifecycle::child_created(conn, sk),
        (_, state::ESTABLISHED) => {
            lifecycle::established(conn, sk, old);
            ends::keep(sk, sk.number(), conn.role);
        }
        (_, state::CLOSE_WAIT) => lifecycle::peer_closed(conn, sk),
        // Only close(), shutdown() and exit lead here, in the caller's context.
        (state::ESTABLISHED | state::SYN_RECV, state::FIN_WAIT1) | (state::CLOSE_WAIT, state::LAST_ACK) => {
            lifecycle::closed_by_owner(conn, sk);
        }
        (_, state::CLOSING) => conn.fin.time_ns = now(),
        (state::SYN_SENT, state::CLOSE) => {
            lifecycle::attempt_ended(conn, sk);
            slots::settle(conn, typed);
            slots::remove(typed);
            return 0;
        }
        (_, state::CLOSE) => {
            lifecycle::closed(conn, sk, old);
            slots::settle(conn, typed);
            slots::remove(typed);
            return 0;
        }
        _ => {}
    }
    slots::settle(conn, typed);
    0
}
