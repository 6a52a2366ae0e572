//! The network namespace of sockets and packets: its inode, and a number for the keys of our own tables.
//!
//! Next to the inode lies the namespace's count of references, which each new socket of any CPU changes
//! (include/linux/ns_common.h), so reading the inode mostly misses the cache. The cookie's cache line rarely changes. A table
//! maps cookies to inodes.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use rstwatch_common::settings::netns_filter;

use crate::kernel::{Base, offset, setting, value};

/// Slots of [`INODES`].
const SLOTS: u32 = 1024;

/// Inodes of network namespaces, by the low bits of their cookie.
#[map]
static INODES: Array<u64> = Array::with_max_entries(SLOTS, 0);

/// Network namespaces to be watched: their cookies or inodes, as the setting `filter_netns` says.
#[map]
static NETNS: HashMap<u64, u8> = HashMap::with_max_entries(1024, 0);

/// Whether the namespace of this inode is watched. `number`: its number, asked for only where cookies are compared.
#[inline(always)]
pub fn watched(netns: u32, number: impl FnOnce() -> u64) -> bool {
    let key = match setting!(filter_netns) {
        netns_filter::ALL => return true,
        netns_filter::INODES => netns as u64,
        _ => number(),
    };
    // SAFETY: the value is not read, only found.
    unsafe { NETNS.get(&key) }.is_some()
}

/// The inode of a socket's namespace.
#[inline(never)]
pub fn netns_of_sock(sk: impl Base) -> u32 {
    sk.follow(offset!(skc_net)).map_or(0, |net| netns_of_net(net))
}

/// The number of a socket's namespace.
#[inline(never)]
pub fn net_of_sock(sk: impl Base) -> u64 {
    sk.follow(offset!(skc_net)).map_or(0, |net| number_of_net(net))
}

/// The inode of the namespace a packet is in.
#[inline(never)]
pub fn netns_of_skb(skb: impl Base) -> u32 {
    of_skb(skb, |net| netns_of_net(net) as u64, |net| netns_of_net(net) as u64) as u32
}

/// The number of the namespace a packet is in.
#[inline(never)]
pub fn net_of_skb(skb: impl Base) -> u64 {
    of_skb(skb, |net| number_of_net(net), |net| number_of_net(net))
}

/// The address of the `struct net` that a received packet is in; 0: not known.
#[inline(always)]
pub fn struct_of_skb(skb: u64) -> u64 {
    value!(value!(skb, skb_dev, u64), dev_net, u64)
}

/// The inode of a `struct net`.
#[inline(always)]
pub fn netns_of_net(net: impl Base) -> u32 {
    let cookie = value!(net, net_cookie, u64);
    // Each CPU assigns 4,096 in a row (include/linux/cookie.h).
    let known = INODES.get_ptr_mut((cookie ^ cookie >> 12) as u32 & (SLOTS - 1));
    // One word is half a cookie and the inode, read and written in one access.
    let (Some(known), true) = (known, cookie != 0 && cookie < 1 << 32) else { return value!(net, net_inum, u32) };
    // SAFETY: a slot of the map.
    let word = unsafe { known.read_volatile() };
    if word >> 32 == cookie {
        return word as u32;
    }
    let inode = value!(net, net_inum, u32);
    // The inode is 0 only while the namespace is being created.
    if inode != 0 {
        // SAFETY: as above.
        unsafe { known.write_volatile(cookie << 32 | inode as u64) };
    }
    inode
}

/// Its cookie, which is never reused (net/core/net_namespace.c). Before Linux 5.12 a namespace gets one on the first request
/// only: until then the number is the inode, and entries keyed by the inode are lost when the cookie appears.
#[inline(always)]
pub fn number_of_net(net: impl Base) -> u64 {
    let cookie = value!(net, net_cookie, u64);
    if cookie == 0 { value!(net, net_inum, u32) as u64 } else { cookie }
}

/// Reads a packet's namespace. An outgoing packet has no device yet at LOCAL_OUT, but a socket, or at least a route.
/// The two closures do the same, for typed and for untyped pointers.
#[inline(always)]
fn of_skb<S: Base>(skb: S, typed: impl Fn(S) -> u64, untyped: impl Fn(u64) -> u64) -> u64 {
    if let Some(device) = skb.follow(offset!(skb_dev)).filter(|device| device.address() != 0) {
        return device.follow(offset!(dev_net)).map_or(0, typed);
    }
    let skb = skb.address();
    let sk = value!(skb, skb_sk, u64);
    let net = if sk != 0 {
        sk.follow(offset!(skc_net))
    } else {
        // The lowest bit marks a reference that is not counted (SKB_DST_NOREF, include/linux/skbuff.h).
        let route = value!(skb, skb_dst, u64) & !1;
        value!(route, dst_dev, u64).follow(offset!(dev_net))
    };
    net.map_or(0, untyped)
}
