//! The numbers of `tcp_sock` for a record.

use rstwatch_common::layout::ABSENT;
use rstwatch_common::record::TcpFacts;

use crate::facts::clock::jiffies;
use crate::facts::socket::age;
use crate::kernel::{Base, field, offset, read, value};

/// Fills the numbers of a connection's socket or a listener.
#[inline(never)]
pub fn read_tcp(sk: impl Base, now: u64, tcp: &mut TcpFacts) {
    let now_jiffies = jiffies();
    tcp.bytes_sent = value!(sk, bytes_sent, u64);
    tcp.bytes_received = value!(sk, bytes_received, u64);
    tcp.rtx_age_ns = if value!(sk, sk_rtx_queue, u64) == 0 {
        0
    } else {
        // Read as a number: some verifiers type the pointer.
        oldest_unacked_age(value!(sk.address(), sk_rtx_queue, u64), now)
    };
    tcp.sent_age = age!(now_jiffies, sk, lsndtime);
    tcp.ack_age = age!(now_jiffies, sk, rcv_tstamp);
    tcp.received_age = age!(now_jiffies, sk, lrcvtime);
    // Zero until the first such segment comes.
    let never = value!(sk, last_oow_ack_time, u32) == 0;
    tcp.oow_age = if never { u32::MAX } else { age!(now_jiffies, sk, last_oow_ack_time) };
    tcp.snd_una = value!(sk, snd_una, u32);
    tcp.snd_nxt = value!(sk, snd_nxt, u32);
    tcp.write_seq = value!(sk, write_seq, u32);
    tcp.rcv_nxt = value!(sk, rcv_nxt, u32);
    tcp.copied_seq = value!(sk, copied_seq, u32);
    tcp.packets_out = value!(sk, packets_out, u32);
    tcp.data_segs_in = value!(sk, data_segs_in, u32);
    tcp.data_segs_out = value!(sk, data_segs_out, u32);
    tcp.srtt_us = value!(sk, srtt_us, u32);
    // struct minmax: the first sample is {u32 t; u32 v}.
    let sample = offset!(rtt_min);
    tcp.rtt_min_us = if sample == ABSENT { 0 } else { sk.value(sample + 4) };
    tcp.rto = value!(sk, icsk_rto, u32);
    tcp.retrans_stamp = value!(sk, retrans_stamp, u32);
    tcp.ts_recent = value!(sk, ts_recent, u32);
    tcp.rcv_wup = value!(sk, rcv_wup, u32);
    tcp.operation_age_ns = operation_age(sk, now);
    tcp.ack_backlog = value!(sk, sk_ack_backlog, u32);
    tcp.max_ack_backlog = value!(sk, sk_max_ack_backlog, u32);
    tcp.sk_flags = value!(sk, skc_flags, u32);
    tcp.retransmits = value!(sk, icsk_retransmits, u8);
    tcp.backoff = value!(sk, icsk_backoff, u8);
    tcp.probes_out = value!(sk, icsk_probes_out, u8);
    tcp.shutdown = value!(sk, sk_shutdown, u8) & 3;
}

/// Nanoseconds since the first of the outstanding segments left. `first_tx_mstamp` is set when a segment leaves an empty pipe
/// and when an ACK comes, not by retransmissions (net/ipv4/tcp_rate.c, tcp_rate_skb_sent). Microseconds of `ktime_get_ns`.
#[inline(always)]
fn operation_age(sk: impl Base, now: u64) -> u64 {
    match field!(sk, first_tx_mstamp, u64) {
        Some(stamp) if stamp != 0 => now.saturating_sub(stamp.wrapping_mul(1000)),
        _ => 0,
    }
}

/// Leftmost steps in the tree of unacknowledged segments; a window holds fewer than 2^24.
const RTX_DEPTH: usize = 24;

/// Nanoseconds since the oldest unacknowledged segment was (re)sent; 0: none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn oldest_unacked_age(root: u64, now: u64) -> u64 {
    let mut node = root;
    for _ in 0..RTX_DEPTH {
        // struct rb_node: {parent and colour, right, left}; it is the head of the sk_buff.
        let left: u64 = read(node, 16).unwrap_or(0);
        if left == 0 {
            break;
        }
        node = left;
    }
    match field!(node, skb_mstamp, u64) {
        Some(stamp) if stamp != 0 => now.saturating_sub(stamp),
        _ => 0,
    }
}
