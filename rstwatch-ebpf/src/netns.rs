//! The network namespace of sockets and packets: its inode, and a number for the keys of our own tables.
//!
//! Beside the inode stands the namespace's count of references, which each new socket of any CPU changes
//! (include/linux/ns_common.h), so reading it is mostly a miss of the cache. The cookie has quiet neighbours, and what inode
//! belongs to it is kept here.

use crate::kernel::{Base, offset, value};
use crate::maps::INODES;

pub const PLACES: u32 = 1024;

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
    told_of_skb(skb, |net| netns_of_net(net) as u64, |net| netns_of_net(net) as u64) as u32
}

/// The number of the namespace a packet is in.
#[inline(never)]
pub fn net_of_skb(skb: impl Base) -> u64 {
    told_of_skb(skb, |net| number_of_net(net), |net| number_of_net(net))
}

/// The inode of a `struct net`.
#[inline(always)]
pub fn netns_of_net(net: impl Base) -> u32 {
    let cookie = value!(net, net_cookie, u64);
    // Each CPU gives out 4,096 in a row (include/linux/cookie.h).
    let known = INODES.get_ptr_mut((cookie ^ cookie >> 12) as u32 & (PLACES - 1));
    // One word is half a cookie and the inode: read and written at once.
    let (Some(known), true) = (known, cookie != 0 && cookie < 1 << 32) else { return value!(net, net_inum, u32) };
    // SAFETY: a slot of the map.
    let word = unsafe { known.read_volatile() };
    if word >> 32 == cookie {
        return word as u32;
    }
    let inode = value!(net, net_inum, u32);
    // None has an inode of 0, but one that is just being made.
    if inode != 0 {
        // SAFETY: as above.
        unsafe { known.write_volatile(cookie << 32 | inode as u64) };
    }
    inode
}

/// Its cookie, which is never given to another (net/core/net_namespace.c). Before Linux 5.12 a namespace has one only once
/// somebody has asked for it: until then the inode stands in, and what was kept under that is lost then.
#[inline(always)]
fn number_of_net(net: impl Base) -> u64 {
    let cookie = value!(net, net_cookie, u64);
    if cookie == 0 { value!(net, net_inum, u32) as u64 } else { cookie }
}

/// What is told of a packet's namespace. One that leaves has no device yet at LOCAL_OUT, but a socket, or at least a route.
/// The two closures are one, for typed and for untyped pointers.
#[inline(always)]
fn told_of_skb<S: Base>(skb: S, typed: impl Fn(S) -> u64, untyped: impl Fn(u64) -> u64) -> u64 {
    if let Some(device) = skb.follow(offset!(skb_dev)).filter(|device| device.address() != 0) {
        return device.follow(offset!(dev_net)).map_or(0, typed);
    }
    let skb = skb.address();
    let sk = value!(skb, skb_sk, u64);
    let net = if sk != 0 {
        sk.follow(offset!(skc_net))
    } else {
        // The lowest bit says that the reference is not counted.
        let route = value!(skb, skb_dst, u64) & !1;
        value!(route, dst_dev, u64).follow(offset!(dev_net))
    };
    net.map_or(0, untyped)
}
