//! `tcp_receive_reset`: a socket accepted an RST. The first line of tcp_reset(): the state is the old one, queues and
//! counters are intact.
//!
//! The kernel also calls tcp_reset() itself, for data after RCV_SHUTDOWN. Then `send_reset` follows for the same
//! socket and says so.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;
use rstwatch_common::counts::{Counted, NO_REASON};
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{MAGIC, Memory, flags, kind, mark, present, sk_class, state, tcp_flag};

use crate::emit::{Rate, emit};
use crate::facts::{self, flow_of};
use crate::kernel::{Base, Typed, clear, copy, setting, value};
use crate::maps::{DROPS, Drop, LAST_DROP, conntrack_full_ns};
use crate::netns;
use crate::netns::netns_of_sock;
use crate::reject;
use crate::segment::Seen;
use crate::sockets;
use crate::ttl;

/// How far from the drop the reject's RST may arrive: it crosses this host only, while a retransmission of the dropped
/// segment, which the peer itself may answer, takes an RTO.
const REJECT_WINDOW_NS: u64 = 50_000_000;

/// `trace_tcp_receive_reset(sk)`.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    let typed = ctx.arg::<*mut c_void>(0);
    if typed.is_null() {
        return 0;
    }
    let Some(sk) = Typed::tcp_sock(typed) else { return 0 };
    let netns = netns_of_sock(sk);
    if !facts::watched(netns) || !facts::in_cgroup(sk) {
        return 0;
    }
    let flow = flow_of(sk);
    let now = facts::now();
    let kept = sockets::get_or_create(typed);
    // SAFETY: kept of a socket that the caller holds.
    let Some(kept) = (unsafe { kept.as_mut() }) else {
        // Out of memory: the reset counts all the same.
        report(sk, netns, &flow, None, now);
        return 0;
    };
    kept.marks |= mark::RECEIVED;
    kept.reset_ns = now;
    // An attempt has no handshake of its own to compare with. A connection whose handshake was not seen gets none: the
    // one that answered another may be another machine.
    if kept.ttl == 0 && value!(sk, skc_state, u8) == state::SYN_SENT {
        kept.ttl = ttl::peer_ttl(&flow, netns::net_of_sock(sk));
    }
    // Empty unless `kfree_skb` is attached, for want of a hook on nf_send_reset. A reject belongs to no cgroup.
    if setting!(filter_cgroup) == 0
        && let Some(drop) = rejected_here(&flow, kept)
    {
        let rejected = Seen { segment: drop.segment, flow };
        reject::report(&rejected, drop.netns, drop.time_ns, flags::INFERRED);
    }
    if !report(sk, netns, &flow, Some(kept), now) {
        kept.marks |= mark::RECEIVED_LOST;
    }
    0
}

/// The segment of ours that netfilter dropped and this RST answers: its shape and numbers say so
/// (net/ipv4/netfilter/nf_reject_ipv4.c, nf_reject_ip_tcphdr_put).
#[inline(always)]
fn rejected_here(flow: &Flow, kept: &Memory) -> Option<&'static Drop> {
    // Where even the last one was too early, so were all.
    let last = LAST_DROP.get(0).copied().unwrap_or(0);
    if last == 0 || last.saturating_add(REJECT_WINDOW_NS) < kept.rst_ns {
        return None;
    }
    // SAFETY: an LRU element may be reused under us; it holds plain numbers.
    let drop = unsafe { DROPS.get(flow) }?;
    let rst = &kept.rst;
    // Over loopback the RST has arrived before the rejected segment is freed.
    let near = kept.rst_ns.abs_diff(drop.time_ns) <= REJECT_WINDOW_NS;
    if rst.present & present::SEGMENT == 0 || !near {
        return None;
    }
    let dropped = &drop.segment;
    let bare = rst.flags & tcp_flag::ACK == 0;
    let answers = if dropped.flags & tcp_flag::ACK != 0 {
        bare && rst.seq == dropped.ack
    } else {
        let opens = (dropped.flags & (tcp_flag::SYN | tcp_flag::FIN)).count_ones();
        !bare && rst.ack == dropped.seq.wrapping_add(dropped.payload).wrapping_add(opens)
    };
    answers.then_some(drop)
}

#[inline(always)]
fn report(sk: Typed, netns: u32, flow: &Flow, kept: Option<&Memory>, now: u64) -> bool {
    emit(Counted::Received, NO_REASON, Rate::Received, now, |record| {
        record.magic = MAGIC;
        record.reason = u32::MAX;
        record.time_ns = now;
        record.sock = sk.address();
        record.conntrack_full_ns = conntrack_full_ns(netns);
        record.cgroup = facts::cgroup_of(sk);
        record.netns = netns;
        record.kind = kind::RECEIVED;
        record.sk_class = sk_class::FULL;
        record.state = value!(sk, skc_state, u8);
        record.subflow = 0;
        copy(&mut record.flow, flow);
        match kept {
            Some(kept) => {
                copy(&mut record.segment, &kept.rst);
                copy(&mut record.memory, kept);
                record.flags = flags::TCP | flags::MEMORY;
            }
            None => {
                clear(&mut record.segment);
                record.flags = flags::TCP;
            }
        }
        facts::tcp_facts(sk, now, &mut record.tcp);
    })
}
