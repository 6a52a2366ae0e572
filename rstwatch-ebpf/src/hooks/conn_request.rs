//! fentry on `tcp_conn_request`: a SYN comes to a listener. Its number tells a handshake's last ACK, when that fits nothing.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::facts;
use crate::kernel::argument;
use crate::listeners;
use crate::segment::{self, Seen};
use crate::syns;

/// `tcp_conn_request(rsk_ops, af_ops, sk, skb)`, net/ipv4/tcp_input.c.
#[fentry(function = "tcp_conn_request")]
pub fn tcp_conn_request(ctx: FEntryContext) -> i32 {
    let listener = argument(ctx.as_ptr(), 2);
    if facts::queue_is_full(listener) {
        listeners::met_full(listener);
    }
    let mut seen = Seen::nothing();
    if segment::read_skb(argument(ctx.as_ptr(), 3), &mut seen) {
        syns::keep(&seen.flow, seen.segment.seq);
    }
    0
}
