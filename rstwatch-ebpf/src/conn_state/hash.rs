//! A hash of flows, for tables that are arrays.

use rstwatch_common::flow::{Flow, IPV4};

use crate::kernel::setting;

/// 2^64 divided by the golden ratio, made odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of a flow in a namespace ([`crate::facts::netns::net_of_sock`]). Each load has a random seed, so no remote host can
/// predict a flow's slot.
#[inline(always)]
pub fn hash(flow: &Flow, net: u64) -> u64 {
    let words = core::ptr::from_ref(flow).cast::<u32>();
    let mut hash = of_net(net);
    for index in (0..size_of::<Flow>() / 4).step_by(2) {
        // SAFETY: words of the flow, which is aligned to them.
        hash =
            mixed(hash, unsafe { words.add(index).read_volatile() }, unsafe { words.add(index + 1).read_volatile() });
    }
    hash.wrapping_mul(FACTOR)
}

/// The hash of a flow's remote end alone.
#[inline(always)]
pub fn hash_of_peer(flow: &Flow, net: u64) -> u64 {
    let words = flow.remote.as_ptr().cast::<u32>();
    // Inverted, so that no peer has the hash of a flow.
    let mut hash = !of_net(net);
    for index in [0, 2] {
        // SAFETY: words of the address; the flow is aligned to them.
        hash =
            mixed(hash, unsafe { words.add(index).read_volatile() }, unsafe { words.add(index + 1).read_volatile() });
    }
    mixed(hash, flow.remote_port as u32, flow.family).wrapping_mul(FACTOR)
}

/// The hash of a connection, in any namespace: the same for both directions.
#[inline(always)]
pub fn hash_of_ends(flow: &Flow) -> u64 {
    if flow.family == IPV4 {
        // SAFETY: a word of the address; the flow is aligned to it.
        let first = |address: &[u8; 16]| unsafe { address.as_ptr().cast::<u32>().read_volatile() };
        return hash_of_v4_ends([first(&flow.local), first(&flow.remote)], [flow.local_port, flow.remote_port]);
    }
    joined(hash_of_v6_end(&flow.local, flow.local_port), hash_of_v6_end(&flow.remote, flow.remote_port))
}

/// The same of IPv4 addresses in network order and ports in host order.
#[inline(always)]
pub fn hash_of_v4_ends(addresses: [u32; 2], ports: [u16; 2]) -> u64 {
    let seed = setting!(hash_seed);
    joined(mixed(seed, addresses[0], ports[0] as u32), mixed(seed, addresses[1], ports[1] as u32))
}

#[inline(always)]
fn hash_of_v6_end(address: &[u8; 16], port: u16) -> u64 {
    let words = address.as_ptr().cast::<u32>();
    let mut hash = mixed(setting!(hash_seed), port as u32, 0);
    for index in [0, 2] {
        // SAFETY: words of the address; the flow is aligned to them.
        hash =
            mixed(hash, unsafe { words.add(index).read_volatile() }, unsafe { words.add(index + 1).read_volatile() });
    }
    hash
}

/// The hash of two hashes in any order.
#[inline(always)]
fn joined(one: u64, other: u64) -> u64 {
    one.wrapping_add(other).wrapping_mul(FACTOR)
}

/// The hash of a socket's key.
#[inline(always)]
pub fn hash_of_key(key: u64) -> u64 {
    mixed(setting!(hash_seed), key as u32, (key >> 32) as u32)
}

/// The namespace is mixed before an address is joined: otherwise two namespaces would collide on addresses that differ in the
/// same bits.
#[inline(always)]
fn of_net(net: u64) -> u64 {
    mixed(setting!(hash_seed), net as u32, (net >> 32) as u32)
}

/// Mixes two halves of a word into a hash.
#[inline(always)]
pub fn mixed(hash: u64, low: u32, high: u32) -> u64 {
    let hash = (hash ^ (low as u64 | (high as u64) << 32)).wrapping_mul(FACTOR);
    hash ^ hash >> 32
}
