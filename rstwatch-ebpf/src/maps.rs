//! The maps.

use core::ptr;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_map_type};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use rstwatch_common::counts::{COUNTS_LEN, LOSSES_LEN};
use rstwatch_common::flow::{Flow, NetnsFlow};
use rstwatch_common::gap::Gaps;
use rstwatch_common::listener::{Gone, Listener};
use rstwatch_common::record::{Memory, Segment};

use crate::netns;
use crate::sets::Set;
use crate::sockets;
use crate::syns;
use crate::tombstones;
use crate::ttl;

/// Details of resets. The daemon sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Exact counts: `rstwatch_common::counts`.
#[map]
pub static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTS_LEN, 0);

/// Counted, but not delivered.
#[map]
pub static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOSSES_LEN, 0);

/// Theoretical arrival time of the next detail event, per kind (the generic cell rate algorithm); the last slot: when the
/// reader was last woken.
#[map]
pub static RATES: PerCpuArray<u64> = PerCpuArray::with_max_entries(8, 0);

/// Network namespaces to be watched, where the setting says so.
#[map]
pub static NETNS: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);

/// [`crate::tombstones`]. Could be mapped, so that it begins with a page: else each set would lie in one cache line more.
#[map]
pub static TOMBSTONE_SETS: Array<Set> = Array::with_max_entries(tombstones::SETS, BPF_F_MMAPABLE);

/// [`crate::sockets`]. Could be mapped, as above.
#[map]
pub static SOCKET_SETS: Array<Set> = Array::with_max_entries(sockets::SETS, BPF_F_MMAPABLE);

/// What is remembered of connections that are gone ([`crate::tombstones`]), and behind that what is kept of living ones
/// ([`crate::sockets`]). In one map, for a verifier walks all that follows for each map that a pointer can point into.
#[map]
pub static PLACES: Array<Place> = Array::with_max_entries(tombstones::COUNT + sockets::COUNT, 0);

/// A place for a memory.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Place {
    /// First, so that a place and its memory have one address.
    pub memory: Memory,
    /// A tombstone's network namespace, by its number; 0: the place is empty, or is being written.
    pub net: u64,
    /// The connection from the end that lived there.
    pub flow: Flow,
}

/// TTL or hop limit of the handshakes of a peer, by namespace, address and port; and of handshakes that are just being
/// completed, by their whole flow: [`crate::ttl`].
#[map]
pub static PEER_TTL: Array<u64> = Array::with_max_entries(ttl::PLACES, 0);

/// Segments that this host's netfilter dropped, by the flow of their sender.
#[map]
pub static DROPS: LruHashMap<Flow, Drop> = LruHashMap::with_max_entries(4096, 0);

/// Idle gaps that connections survived or died of, by destination (`local` is empty).
#[map]
pub static GAPS: LruHashMap<NetnsFlow, Gaps> = LruHashMap::with_max_entries(4096, 0);

/// Listeners by the address of their socket.
#[map]
pub static LISTENERS: HashMap<u64, Listener> = HashMap::with_max_entries(16_384, 0);

/// How many found no room among them.
#[map]
pub static UNLISTED: Array<u64> = Array::with_max_entries(1, 0);

/// Listeners that dropped something and listen no more, until the daemon has read them.
#[map]
pub static GONE: HashMap<Gone, Listener> = HashMap::with_max_entries(1024, 0);

/// Resets that the stack of a network namespace sent, for comparison with its `OutRsts`.
#[map]
pub static SENT_BY_NETNS: PerCpuHashMap<u32, u64> = PerCpuHashMap::with_max_entries(8192, 0);

/// [`crate::syns`].
#[map]
pub static SYNS: Array<u64> = Array::with_max_entries(syns::PLACES, 0);

/// What `kfree_skb` has to tell: `rstwatch_common::settings::infer`.
#[map]
pub static INFER: Array<u64> = Array::with_max_entries(1, 0);

/// When a segment was last put into `DROPS`. It spares most resets a look there.
#[map]
pub static LAST_DROP: Array<u64> = Array::with_max_entries(1, 0);

/// When the conntrack table of a namespace was last full.
#[map]
pub static CONNTRACK_FULL: LruHashMap<u32, u64> = LruHashMap::with_max_entries(1024, 0);

/// Inodes of network namespaces: [`crate::netns`].
#[map]
pub static INODES: Array<u64> = Array::with_max_entries(netns::PLACES, 0);

/// 1: there is something in `CONNTRACK_FULL`.
#[map]
pub static CONNTRACK_EVER_FULL: Array<u32> = Array::with_max_entries(1, 0);

/// Inode of the host's own network namespace, whose conntrack table pods' packets pass too; 0: not known.
#[map]
pub static HOST_NETNS: Array<u32> = Array::with_max_entries(1, 0);

/// A memory of nothing, which would not fit on the stack. Never written.
#[map]
pub static NOTHING: Array<Memory> = Array::with_max_entries(1, 0);

/// When the conntrack table of a namespace, or of the host's own, was last full; 0: never, or not seen.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn conntrack_full_ns(netns: u32) -> u64 {
    // On most hosts none ever was.
    if CONNTRACK_EVER_FULL.get(0).copied().unwrap_or(0) == 0 {
        return 0;
    }
    let host = HOST_NETNS.get(0).copied().unwrap_or(0);
    // SAFETY: a number; a torn read is not possible.
    let own = unsafe { CONNTRACK_FULL.get(&netns) }.copied().unwrap_or(0);
    if host == netns {
        return own;
    }
    // SAFETY: as above.
    let hosts = unsafe { CONNTRACK_FULL.get(&host) }.copied().unwrap_or(0);
    if own > hosts { own } else { hosts }
}

/// A dropped segment.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Drop {
    pub time_ns: u64,
    pub netns: u32,
    pub segment: Segment,
}

/// A map definition of BPF_MAP_TYPE_SK_STORAGE, in the shape that loaders read from BTF.
#[repr(C)]
pub struct SocketStorage {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const Memory,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the pointers are placeholders for BTF; nothing reads them.
unsafe impl Sync for SocketStorage {}

/// [`crate::sockets`].
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SOCKET_STORAGE")]
pub static SOCKET_STORAGE: SocketStorage = SocketStorage {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};
