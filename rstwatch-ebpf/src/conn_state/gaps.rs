//! Idle gaps of the connections that this host opened, by destination.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use rstwatch_common::flow::NetnsFlow;
use rstwatch_common::gap::Gaps;

use crate::conn_state::ttl::peer_key;
use crate::facts::cgroup::in_cgroup;
use crate::facts::clock::now;
use crate::facts::netns::{net_of_sock, netns_of_sock, watched};
use crate::facts::socket::flow_of;
use crate::kernel::Base;

/// By destination: `local` is empty.
#[map]
static GAPS: LruHashMap<NetnsFlow, Gaps> = LruHashMap::with_max_entries(4096, 0);

/// A connection was used again after `quiet` jiffies, and the peer answered.
#[inline(never)]
pub fn survived(sk: impl Base, quiet: u32) {
    let Some(gaps) = gaps_of(sk) else { return };
    gaps.survived += 1;
    gaps.last_ns = now();
    if quiet > gaps.survived_longest {
        gaps.survived_longest = quiet;
    }
}

/// The peer closed after `quiet` jiffies, with no request open.
#[inline(never)]
pub fn ended_idle(sk: impl Base, quiet: u32) {
    let Some(gaps) = gaps_of(sk) else { return };
    gaps.closed += 1;
    gaps.last_ns = now();
    // A shorter gap than one survived was no timeout but, say, a restart: replace it.
    let refuted = gaps.closed_shortest < gaps.survived_longest;
    if refuted || gaps.closed_shortest == 0 || quiet < gaps.closed_shortest {
        gaps.closed_shortest = quiet;
    }
}

/// The gaps of a connection's destination.
#[inline(always)]
fn gaps_of(sk: impl Base) -> Option<&'static mut Gaps> {
    let netns = netns_of_sock(sk);
    if !watched(netns, || net_of_sock(sk)) || !in_cgroup(sk) {
        return None;
    }
    let key = peer_key(&flow_of(sk), netns);
    if GAPS.get_ptr_mut(&key).is_none() {
        let none = Gaps { survived_longest: 0, closed_shortest: 0, survived: 0, closed: 0, last_ns: 0 };
        let _ = GAPS.insert(&key, &none, 0);
    }
    // SAFETY: an LRU element may be reused at any time, and CPUs may count at once: a statistic, of plain numbers.
    unsafe { GAPS.get_ptr_mut(&key)?.as_mut() }
}
