//! `iter/task_file`, again and again: looks at each connection every second or so, and finds the idle gaps that it survived.
//!
//! A look costs nothing per packet. A gap is measured from the last payload to the last look that found the connection
//! still quiet: never more than it was, and short of it by less than the time between two looks.

use rstwatch_common::record::{Memory, role, sock_flag, spoke, state};

use crate::facts::{Ages, ages_of, jiffies, now};
use crate::files::{TaskFile, tcp_socket};
use crate::gaps;
use crate::kernel::{setting, value};
use crate::sockets;

/// Runs for each open file of each task, while the daemon reads the iterator. The iterator over socket storage itself would be
/// shorter, but it reads a storage that is just being freed (seen on Linux 7.3: a NULL dereference in
/// __bpf_sk_storage_map_seq_show, net/core/bpf_sk_storage.c).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn sample(ctx: *mut TaskFile) -> i32 {
    let Some((_, typed)) = tcp_socket(ctx) else { return 0 };
    let sk = typed as u64;
    if value!(sk, skc_state, u8) != state::ESTABLISHED {
        return 0;
    }
    let place = sockets::get(typed);
    // SAFETY: kept of a socket that the file holds.
    if let Some(kept) = unsafe { place.as_mut() } {
        look(kept, sk);
        // An RST may have ended the socket meanwhile, and another may have got its place: nobody has looked at that one.
        if sockets::get(typed) != place {
            kept.sampled = 0;
        }
    }
    0
}

/// Of a quick exchange with one time for both the last ACK may tell. One that came later, for its own sake, was for what we
/// said last. One that came at that time brought a client its answer; to a server it may have come with the next question, and
/// then the server has acknowledged that a moment later, and done nothing since.
#[inline(always)]
fn spoke_last(ages: &Ages, client: bool, sk: u64) -> u16 {
    // The answer to a keepalive of ours is an ACK that came later, too.
    let tells = value!(sk, skc_flags, u32) & sock_flag::KEEPOPEN == 0;
    let tie = ages.sent == ages.received;
    if ages.sent < ages.received || (tie && tells && ages.ack < ages.received) {
        spoke::WE
    } else if ages.received < ages.sent || client || acted_after(sk, ages.received) {
        spoke::PEER
    } else {
        spoke::NOBODY
    }
}

/// The jiffies may lag behind the clock by two ticks, and by so much where a hypervisor takes the CPU that counts them. An
/// acknowledgement for its own sake is later still: TCP_DELACK_MIN of include/net/tcp.h is 40 ms.
const JIFFIES_LAG_US: u64 = 25_000;

/// Whether the socket has received or sent anything since that many jiffies ago, and the jiffies' lag. `tcp_mstamp` is its
/// clock, set by whatever it does (net/ipv4/tcp_output.c, tcp_mstamp_refresh); microseconds of `ktime_get_ns`. Keepalives of
/// either side set it too: then it tells nothing.
#[inline(always)]
fn acted_after(sk: u64, jiffies_ago: u32) -> bool {
    let probed = value!(sk, last_oow_ack_time, u32);
    let ours = value!(sk, skc_flags, u32) & sock_flag::KEEPOPEN != 0;
    if ours || (probed != 0 && jiffies().wrapping_sub(probed) < jiffies_ago) {
        return false;
    }
    let tick = setting!(jiffy_us);
    let idle = (now() / 1000).saturating_sub(value!(sk, tcp_mstamp, u64));
    let lag = if 2 * tick > JIFFIES_LAG_US { 2 * tick } else { JIFFIES_LAG_US };
    idle + lag < jiffies_ago as u64 * tick
}

#[inline(always)]
fn look(kept: &mut Memory, sk: u64) {
    let tick = jiffies();
    let ages = ages_of(sk);
    let youngest = if ages.sent < ages.received { ages.sent } else { ages.received };
    let active = tick.wrapping_sub(youngest);
    if kept.sampled != 0 && active != kept.active {
        let quiet = kept.sampled.wrapping_sub(kept.active);
        // Signed: a time before the last payload wraps.
        if kept.role == role::CLIENT && quiet as i32 >= setting!(hz) as i32 {
            let answered = tick.wrapping_sub(ages.received).wrapping_sub(kept.sampled) as i32 > 0;
            if !answered {
                // Asked, but not yet answered: it may still turn out to be dead.
                return;
            }
            gaps::survived(sk, quiet);
        }
    }
    kept.active = active;
    kept.sampled_spoke = spoke_last(&ages, kept.role == role::CLIENT, sk);
    kept.sampled_sent = value!(sk, bytes_sent, u64) as u32;
    kept.sampled_segs = value!(sk, data_segs_out, u32) as u16;
    kept.sampled_segs_in = value!(sk, data_segs_in, u32) as u16;
    kept.sampled = if tick == 0 { 1 } else { tick };
}
