//! fentry on `tcp_conn_request`: a SYN comes to a listener. Its number identifies a handshake's last ACK that matches no request.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::conn_state::syns;
use crate::facts::segment::{self, Seen};
use crate::facts::socket::queue_is_full;
use crate::kernel::argument;
use crate::listeners;

/// `tcp_conn_request(rsk_ops, af_ops, sk, skb)`, net/ipv4/tcp_input.c.
#[fentry(function = "tcp_conn_request")]
pub fn tcp_conn_request(ctx: FEntryContext) -> i32 {
    let listener = argument(ctx.as_ptr(), 2);
    if queue_is_full(listener) {
        listeners::met_full(listener);
    }
    let mut seen = Seen::empty();
    if segment::read_skb(argument(ctx.as_ptr(), 3), &mut seen) {
        syns::insert(&seen.flow, seen.segment.seq);
    }
    0
}
