//! The two ends of connections between sockets of this host, found by the flow.
//!
//! Each socket writes its address when it is established, and nothing is ever removed: a later connection overwrites the entry,
//! and a lookup believes nothing that the table of living connections and the socket itself do not confirm. Writing costs one
//! store, which does not wait for its cache line.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::flow::{Flow, IPV4};
use rstwatch_common::record::{ENDS_BYTES, role, state};

use crate::conn_state::hash::{hash_of_ends, hash_of_v4_ends};
use crate::conn_state::share::is_zero;
use crate::conn_state::slots;
use crate::facts::netns::{net_of_sock, netns_of_sock, watched};
use crate::facts::socket::{AF_INET, AF_INET6, read_flow};
use crate::kernel::{Base, Typed, offset, read_or_zero, setting, value};
use crate::words::{forgotten, zeroed};

/// Addresses of sockets ([`Typed::number`]), by a hash of the flow that both directions share: the end that called connect(), the
/// end that was accepted. The namespace is no part of the key, because the ends may be in two. The daemon sets the size.
#[map]
static ENDS: Array<[u64; 2]> = Array::with_max_entries(1, 0);

const _: () = assert!(size_of::<[u64; 2]>() == ENDS_BYTES);

/// The largest TCP window, in bytes (RFC 7323 section 2.3).
const MAX_WINDOW: u32 = 1 << 30;

/// The states in which a socket answers segments of its connection. In all others it is gone, or was never there.
const ALIVE: u32 = 1 << state::ESTABLISHED
    | 1 << state::FIN_WAIT1
    | 1 << state::FIN_WAIT2
    | 1 << state::CLOSE_WAIT
    | 1 << state::LAST_ACK
    | 1 << state::CLOSING;

/// How an IPv4 address begins as one of IPv6, in words: ::ffff:0:0/96, RFC 4291 section 2.5.5.2.
const MAPPED: [u32; 3] = [0, 0, 0xffff_u32.to_be()];

/// The entry of a flow's connection; the caller selects one end.
#[inline(always)]
fn entry(hash: u64) -> Option<*mut u64> {
    // The upper bits are better mixed.
    ENDS.get_ptr_mut((hash >> 32) as u32 & (setting!(connections) - 1)).map(|ends| ends.cast())
}

/// Keeps an end of a connection that is established. `number`: [`Typed::number`] of the socket; `role`: [`role::CLIENT`] or
/// [`role::SERVER`].
#[inline(never)]
pub fn keep(sk: impl Base, number: u64, role: u8) {
    let Some(ends) = entry(hash_of_sock(sk)) else { return };
    let end = is_zero((role ^ role::SERVER) as u64);
    // SAFETY: one of two words, written in one access.
    unsafe { ends.add(end as usize & 1).write_volatile(number) };
}

/// [`hash_of_ends`] of a socket's flow.
#[inline(always)]
fn hash_of_sock(sk: impl Base) -> u64 {
    // The common case, without a flow in memory.
    if value!(sk, skc_family, u16) == AF_INET {
        let ports = [value!(sk, inet_sport, u16), value!(sk, skc_dport, u16)];
        return hash_of_v4_ends(
            [value!(sk, skc_rcv_saddr, u32), value!(sk, skc_daddr, u32)],
            [u16::from_be(ports[0]), u16::from_be(ports[1])],
        );
    }
    let mut flow = zeroed();
    read_flow(sk, &mut flow);
    hash_of_ends(&flow)
}

/// 1 if the other end's socket is on this host, in a watched namespace, and alive: it is not closed, its flow is the reverse of
/// this one, and each end expects a number that the other has sent and not seen acknowledged, or sends next. Else 0.
#[inline(never)]
pub fn is_other_alive(sk: Typed, flow: &Flow, role: u8) -> u32 {
    if role != role::CLIENT && role != role::SERVER {
        return 0;
    }
    let other = living_end(hash_of_ends(flow), is_zero((role ^ role::CLIENT) as u64));
    if other == 0 || !is_reverse(other, flow) {
        return 0;
    }
    numbers_fit(other, value!(sk, snd_una, u32), value!(sk, snd_nxt, u32), value!(sk, rcv_nxt, u32))
}

/// The address of the socket that an entry has for an end (1: the accepted one), if the socket is alive and watched; else 0.
///
/// The state is read first. Whatever takes the same memory afterwards and is the other end was created later, and is alive. And
/// after an abort, the other end is closed: then the table, which is rarely in the cache, is not asked.
///
/// A global function of numbers, like the next one: a verifier walks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn living_end(hash: u64, end: u32) -> u64 {
    let Some(ends) = entry(hash) else { return 0 };
    // SAFETY: one of two words, read in one access.
    let number = unsafe { ends.add(end as usize & 1).read_volatile() };
    let sk = slots::address_of(number);
    let alive = ALIVE >> (value!(sk, skc_state, u8) & 31) & 1;
    if alive == 0 || !slots::has(number) || !watched(netns_of_sock(sk), || net_of_sock(sk)) {
        return 0;
    }
    sk
}

/// Whether the flow of the socket `other` is the reverse of this one. Compares each field where it is: for another flow the stack
/// has no room.
#[inline(never)]
fn is_reverse(other: u64, flow: &Flow) -> bool {
    let ports = u16::from_be(value!(other, skc_dport, u16)) ^ flow.local_port
        | u16::from_be(value!(other, inet_sport, u16)) ^ flow.remote_port;
    let (local, remote) = (flow.local.as_ptr().cast::<u32>(), flow.remote.as_ptr().cast::<u32>());
    // SAFETY: words of an address; the flow is aligned to them.
    let word = |address: *const u32, index: u16| unsafe { address.add(index as usize).read_volatile() };
    let of_v6 = value!(other, skc_family, u16) == AF_INET6;
    let mut differs = ports as u32;
    if flow.family == IPV4 {
        differs |= value!(other, skc_daddr, u32) ^ word(local, 0) | value!(other, skc_rcv_saddr, u32) ^ word(remote, 0);
        if of_v6 {
            for (index, mapped) in MAPPED.into_iter().enumerate() {
                differs |= read_or_zero::<u32>(other, offset!(skc_v6_daddr) + 4 * index as u16) ^ mapped;
            }
        }
    } else {
        differs |= 1 ^ of_v6 as u32;
        for index in 0..4 {
            differs |= read_or_zero::<u32>(other, offset!(skc_v6_daddr) + 4 * index) ^ word(local, index);
            differs |= read_or_zero::<u32>(other, offset!(skc_v6_rcv_saddr) + 4 * index) ^ word(remote, index);
        }
    }
    differs == 0
}

/// 1 if the sequence numbers of a socket fit those of the other end, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn numbers_fit(other: u64, snd_una: u32, snd_nxt: u32, rcv_nxt: u32) -> u32 {
    // In this order, because the other CPU advances them.
    let theirs_una = value!(other, snd_una, u32);
    let theirs_rcv = value!(other, rcv_nxt, u32);
    let theirs_nxt = value!(other, snd_nxt, u32);
    let fits = is_expected(theirs_rcv, snd_una, snd_nxt) && is_expected(rcv_nxt, theirs_una, theirs_nxt);
    forgotten(fits.into()) as u32
}

/// Whether the number that one end expects next is on its way from the other, or is the one that it sends next.
#[inline(always)]
fn is_expected(rcv_nxt: u32, snd_una: u32, snd_nxt: u32) -> bool {
    let under_way = snd_nxt.wrapping_sub(snd_una);
    under_way <= MAX_WINDOW && rcv_nxt.wrapping_sub(snd_una) <= under_way
}
