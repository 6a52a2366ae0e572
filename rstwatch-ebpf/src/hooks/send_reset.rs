//! `tcp_send_reset`: the stack sent an RST, of its own (active, no skb) or as an answer (passive, skb).

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;
use rstwatch_common::counts::{Counted, LOST_PHANTOM, NO_REASON};
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{MAGIC, Memory, Segment, flags, kind, mark, role, sk_class, tcp_flag};

use crate::emit::{Rate, count, emit};
use crate::facts::{self, class_of, flow_of, netns_of_skb, netns_of_sock};
use crate::kernel::{argument, clear, field, setting, value};
use crate::maps::SOCKETS;
use crate::memory;
use crate::segment::{self, NO_SEGMENT, Seen};

/// `trace_tcp_send_reset(sk, skb, reason)`; `reason` since Linux 6.10. Both pointers can be NULL, `sk` can be a
/// listener or a TIME_WAIT mini-socket (net/ipv4/tcp_ipv4.c, tcp_v4_send_reset).
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    let sk = argument(ctx.as_ptr(), 0);
    let skb = argument(ctx.as_ptr(), 1);
    let netns = if sk != 0 { netns_of_sock(sk) } else { netns_of_skb(skb) };
    let state = value!(sk, skc_state, u8);
    let class = class_of(sk, state);
    // No socket and mini-sockets belong to no cgroup.
    let bound = class == sk_class::FULL || class == sk_class::LISTEN;
    if !facts::watched(netns) || (setting!(filter_cgroup) == 1 && !(bound && facts::in_cgroup(sk))) {
        return 0;
    }
    let reason = if setting!(has_reason) == 1 { argument(ctx.as_ptr(), 2) as u32 } else { u32::MAX };
    let (segment, flow) = provoked_by(sk, skb);
    let sent = Sent { sk, skb, netns, reason, state, class, segment, flow };

    // The typed pointer serves the storage helper alone; it has a NULL check of its own for the kernels that want one.
    let typed = ctx.arg::<*mut c_void>(0);
    let kept = if class == sk_class::TIME_WAIT || typed.is_null() { core::ptr::null_mut() } else { SOCKETS.get(typed) };
    // SAFETY: storage of a socket that the caller holds.
    let kept = unsafe { kept.as_mut() };
    let (remembered, found) = match (class, kept) {
        (sk_class::FULL, Some(kept)) => sent.of_connection(kept),
        (sk_class::LISTEN, Some(kept)) => sent.of_listener(kept),
        _ => sent.of_nothing(),
    };
    sent.emit(remembered, found);
    0
}

/// The provoking segment, and the flow from our end: the segment's, reversed, where there is one
/// (a listener has no peer), else the socket's.
#[inline(always)]
fn provoked_by(sk: u64, skb: u64) -> (Segment, Flow) {
    let mut seen = Seen::NOTHING;
    if skb != 0 && segment::read_skb(skb, &mut seen) {
        return (seen.segment, seen.flow.reversed());
    }
    (NO_SEGMENT, if sk == 0 { Flow::EMPTY } else { flow_of(sk) })
}

struct Sent {
    sk: u64,
    skb: u64,
    netns: u32,
    reason: u32,
    state: u8,
    class: u8,
    segment: Segment,
    flow: Flow,
}

/// What is remembered, and the record flags that say where it was found.
type Remembered<'a> = (Option<&'a Memory>, u32);

impl Sent {
    /// A connection's socket that is (or was, a moment ago) alive.
    #[inline(always)]
    fn of_connection<'a>(&self, kept: &'a mut Memory) -> Remembered<'a> {
        let mut phantom = 0;
        if self.skb == 0 {
            memory::aborted(kept, self.sk, &self.flow, self.state, self.reason);
        } else if kept.marks & mark::RECEIVED != 0 {
            // No RST is ever sent for an RST: what tcp_receive_reset reported was data after RCV_SHUTDOWN.
            phantom = flags::PHANTOM;
            count(Counted::Phantom, NO_REASON);
            if kept.marks & mark::RECEIVED_LOST != 0 {
                count(Counted::Phantom, LOST_PHANTOM);
            }
            kept.marks &= !(mark::RECEIVED | mark::RECEIVED_LOST);
        }
        (Some(kept), flags::MEMORY | phantom)
    }

    /// A segment that found no connection, only a listener: of one that is gone, or of a handshake that failed.
    #[inline(always)]
    fn of_listener<'a>(&self, kept: &'a Memory) -> Remembered<'a> {
        if self.segment.flags & tcp_flag::SYN != 0 {
            return (Some(kept), flags::MEMORY);
        }
        if let Some(gone) = memory::tombstone(&self.flow, self.netns, &self.segment) {
            return (Some(gone), flags::TOMBSTONE);
        }
        let handshake_ack = self.segment.payload == 0 && setting!(invalid_syn) == self.reason;
        let backlog = value!(self.sk, sk_ack_backlog, u32);
        let limit = field!(self.sk, sk_max_ack_backlog, u32).unwrap_or(u32::MAX);
        if handshake_ack && backlog > limit {
            self.bury_overflowed(kept);
        }
        (Some(kept), flags::MEMORY)
    }

    /// The client's next segments find nothing either: they are consequences of the overflow.
    #[inline(always)]
    fn bury_overflowed(&self, listener: &Memory) {
        memory::bury(listener, &self.flow, self.netns);
        if let Some(buried) = memory::buried(&self.flow, self.netns) {
            buried.marks = mark::OVERFLOWED;
            buried.rcv_nxt = self.segment.seq;
            buried.snd_nxt = self.segment.ack;
            buried.reset_reason = self.reason;
            buried.reset_ns = facts::now();
            buried.closed_ns = buried.reset_ns;
            buried.role = role::SERVER;
        }
    }

    /// No socket, a TIME_WAIT mini-socket, or a socket without memory.
    #[inline(always)]
    fn of_nothing(&self) -> Remembered<'static> {
        if self.segment.flags & tcp_flag::SYN != 0 {
            return (None, 0);
        }
        match memory::tombstone(&self.flow, self.netns, &self.segment) {
            Some(gone) => (Some(gone), flags::TOMBSTONE),
            None => (None, 0),
        }
    }

    #[inline(always)]
    fn emit(&self, remembered: Option<&Memory>, found: u32) {
        let reason = if self.reason == u32::MAX { NO_REASON } else { self.reason };
        let rate = if self.class == sk_class::NONE && remembered.is_none() { Rate::NoSocket } else { Rate::Sent };
        emit(Counted::Sent, reason, rate, |record| {
            record.magic = MAGIC;
            record.reason = self.reason;
            record.time_ns = facts::now();
            record.sock = self.sk;
            record.netns = self.netns;
            record.kind = kind::SENT;
            record.sk_class = self.class;
            record.state = self.state;
            record.reserved = 0;
            record.flow = self.flow;
            record.segment = self.segment;
            match remembered {
                Some(memory) => record.memory = *memory,
                None => clear(&mut record.memory),
            }
            record.flags = found;
            if self.skb != 0 {
                record.flags |= flags::SKB;
            }
            self.fill_from_socket(record);
            facts::current(&mut record.task);
        });
    }

    /// What only a connection's socket or a listener has.
    #[inline(always)]
    fn fill_from_socket(&self, record: &mut rstwatch_common::record::ResetRecord) {
        if self.class != sk_class::FULL && self.class != sk_class::LISTEN {
            record.cgroup = 0;
            clear(&mut record.tcp);
            return;
        }
        record.flags |= flags::TCP;
        record.cgroup = facts::cgroup_of(self.sk);
        facts::tcp_facts(self.sk, &mut record.tcp);
    }
}
