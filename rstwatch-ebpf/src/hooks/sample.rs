//! `iter/task_file`, periodically: samples each connection every second or so, and finds the idle gaps that it survived.
//!
//! Sampling costs nothing per packet. A gap is measured from the last payload to the last sample that found the connection
//! still quiet: never more than the real gap, and short of it by less than the scan interval.

use rstwatch_common::record::{ConnState, last_payload, role, state};

use crate::conn_state::{gaps, slots};
use crate::facts::clock::jiffies;
use crate::facts::files::{TaskFile, tcp_socket};
use crate::facts::socket::{Ages, ages_of, sends_keepalives};
use crate::kernel::{setting, value};

/// Runs for each open file of each task while the daemon reads the iterator. An iterator over socket storage would visit fewer
/// objects, but it reads storage that is just being freed (Linux 7.3: a NULL dereference in __bpf_sk_storage_map_seq_show,
/// net/core/bpf_sk_storage.c).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn sample(ctx: *mut TaskFile) -> i32 {
    let Some((_, typed)) = tcp_socket(ctx) else { return 0 };
    let sk = typed as u64;
    let found = slots::get(typed);
    // SAFETY: the state of a socket that the file holds.
    if let Some(conn) = unsafe { found.as_mut() } {
        take_sample(conn, sk);
        // An RST may have ended the socket meanwhile, and another socket may have its slot now, which was not sampled.
        if slots::get(typed) != found {
            conn.sampled.jiffies = 0;
        }
    }
    0
}

/// The side that sent the last payload.
///
/// If both payloads have the same time, the last ACK decides, unless keepalives of our own draw ACKs. A later ACK without payload
/// acknowledged our last payload. An ACK at the same time came with a response if we are the client; if we are the server it may
/// have come with the next request, which the server acknowledges a moment later.
///
/// The kernel writes the time of a response before the time of the ACK that came with it (net/ipv4/tcp_input.c,
/// tcp_rcv_established), and a jiffy, or more on a virtual CPU, may pass in between: a client's ACK is later only if it is so by
/// [`WITH_ACK_US`], and before that says nothing.
#[inline(always)]
fn last_payload_of(ages: &Ages, client: bool, sk: u64) -> u16 {
    let decisive = !sends_keepalives(sk);
    let tie = ages.sent == ages.received;
    let later = tie && decisive && ages.ack < ages.received;
    let with_response =
        client && ages.received.wrapping_sub(ages.ack) <= setting!(hz) / (1_000_000 / WITH_ACK_US as u32);
    if ages.sent < ages.received || (later && !with_response) {
        last_payload::OURS
    } else if later {
        last_payload::UNKNOWN
    } else if ages.received < ages.sent || (client && decisive) || active_after_ack(sk, ages.received) {
        last_payload::PEERS
    } else {
        last_payload::UNKNOWN
    }
}

/// Segments that belong to the ACK itself, such as an update of the window, come within this time. A delayed ACK comes later
/// (TCP_DELACK_MIN, include/net/tcp.h: 40 ms).
const WITH_ACK_US: u64 = 25_000;

/// Whether the socket received or sent a segment after the last ACK of our data. Every segment sets `tcp_mstamp`
/// (net/ipv4/tcp_output.c, tcp_mstamp_refresh), and such an ACK copies it to `delivered_mstamp` (net/ipv4/tcp_rate.c,
/// tcp_rate_gen): one clock, while jiffies lag whenever a hypervisor preempts the CPU that counts them. Keepalives of either
/// side set `tcp_mstamp` too: then it proves nothing, and neither does a socket that has sent nothing.
#[inline(always)]
fn active_after_ack(sk: u64, jiffies_ago: u32) -> bool {
    let acknowledged = value!(sk, delivered_mstamp, u64);
    let probed = value!(sk, last_oow_ack_time, u32);
    let keepalive = sends_keepalives(sk) || (probed != 0 && jiffies().wrapping_sub(probed) < jiffies_ago);
    acknowledged != 0 && !keepalive && value!(sk, tcp_mstamp, u64).wrapping_sub(acknowledged) > WITH_ACK_US
}

/// Whether the socket is established and unlocked. A segment in softirq holds the spinlock; a call of the owner, which also handles
/// the backlog, sets `owned`. The kernel handles the ACK of a FIN first (net/ipv4/tcp_input.c, tcp_rcv_established): until the
/// state changes, it looks like the ACK of an open request.
#[inline(always)]
fn is_at_rest(sk: u64) -> bool {
    let locked = value!(sk, sk_slock, u32) != 0 || value!(sk, sk_lock_owned, u32) != 0;
    !locked && value!(sk, skc_state, u8) == state::ESTABLISHED
}

#[inline(always)]
fn take_sample(conn: &mut ConnState, sk: u64) {
    let tick = jiffies();
    let ages = ages_of(sk);
    let last_payload = last_payload_of(&ages, conn.role == role::CLIENT, sk);
    let bytes_sent = value!(sk, bytes_sent, u64) as u32;
    let segs_out = value!(sk, data_segs_out, u32) as u16;
    let segs_in = value!(sk, data_segs_in, u32) as u16;
    // Last, so that it holds for all that was read.
    if !is_at_rest(sk) {
        return;
    }
    let youngest = if ages.sent < ages.received { ages.sent } else { ages.received };
    let active = tick.wrapping_sub(youngest);
    if conn.sampled.jiffies != 0 && active != conn.sampled.active {
        let quiet = conn.sampled.jiffies.wrapping_sub(conn.sampled.active);
        // Signed: a time before the last payload wraps.
        if conn.role == role::CLIENT && quiet as i32 >= setting!(hz) as i32 {
            let answered = tick.wrapping_sub(ages.received).wrapping_sub(conn.sampled.jiffies) as i32 > 0;
            if !answered {
                // A request without a response yet: the peer may be gone.
                return;
            }
            gaps::survived(sk, quiet);
        }
    }
    conn.sampled.active = active;
    conn.sampled.last_payload = last_payload;
    conn.sampled.bytes_sent = bytes_sent;
    conn.sampled.segs_out = segs_out;
    conn.sampled.segs_in = segs_in;
    conn.sampled.jiffies = if tick == 0 { 1 } else { tick };
}
