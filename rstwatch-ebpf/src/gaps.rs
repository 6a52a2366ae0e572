//! Idle gaps of the connections that this host opened, by destination.

use rstwatch_common::gap::Gaps;

use crate::facts::{flow_of, in_cgroup, now, watched};
use crate::kernel::Base;
use crate::maps::GAPS;
use crate::netns::netns_of_sock;
use crate::ttl::peer_key;

/// A connection that was quiet for so many jiffies was used again, and answered.
#[inline(never)]
pub fn survived(sk: impl Base, quiet: u32) {
    let Some(gaps) = gaps_of(sk) else { return };
    gaps.survived += 1;
    gaps.last_ns = now();
    if quiet > gaps.survived_longest {
        gaps.survived_longest = quiet;
    }
}

/// The peer closed after so many quiet jiffies, with nothing open.
#[inline(never)]
pub fn ended_idle(sk: impl Base, quiet: u32) {
    let Some(gaps) = gaps_of(sk) else { return };
    gaps.closed += 1;
    gaps.last_ns = now();
    // What a survived gap refutes was no timeout's work, but a restart's: it gives way.
    let refuted = gaps.closed_shortest < gaps.survived_longest;
    if refuted || gaps.closed_shortest == 0 || quiet < gaps.closed_shortest {
        gaps.closed_shortest = quiet;
    }
}

/// The gaps of the destination that a connection leads to.
#[inline(always)]
fn gaps_of(sk: impl Base) -> Option<&'static mut Gaps> {
    let netns = netns_of_sock(sk);
    if !watched(netns) || !in_cgroup(sk) {
        return None;
    }
    let key = peer_key(&flow_of(sk), netns);
    if GAPS.get_ptr_mut(&key).is_none() {
        let none = Gaps { survived_longest: 0, closed_shortest: 0, survived: 0, closed: 0, last_ns: 0 };
        let _ = GAPS.insert(&key, &none, 0);
    }
    // SAFETY: an LRU element may be reused under us, and CPUs may count at once: a statistic, of plain numbers.
    unsafe { GAPS.get_ptr_mut(&key)?.as_mut() }
}
