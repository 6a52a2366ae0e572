//! An RST for a connection that an earlier RST has ended: evidence about the earlier one.

use rstwatch_common::record::{MAGIC, ResetRecord, flags, kind, mark, present, sk_class};

use crate::emit::{Rate, tell};
use crate::facts::now;
use crate::kernel::copy;
use crate::segment::Seen;
use crate::tombstones;

/// Injectors send their bursts at once.
const WINDOW_NS: u64 = 5_000_000_000;

/// Reports an RST that claims to be ahead of the one that was accepted. (One behind it is an ordinary answer to a segment
/// that was under way when the peer aborted; one that is ahead by one answers a segment that acknowledged a FIN.)
#[inline(always)]
pub fn rst(seen: &Seen, netns: u32, net: u64) {
    let flow = seen.flow.reversed();
    // SAFETY: a place may be reused under us; it holds plain numbers.
    let Some(gone) = (unsafe { tombstones::find(&flow, net).as_ref() }) else { return };
    let reset_by_peer = gone.rst.present & present::SEGMENT != 0 && gone.marks & mark::ABORTED == 0;
    let now = now();
    let recent = now.wrapping_sub(gone.rst_ns) < WINDOW_NS;
    let ahead = seen.segment.seq.wrapping_sub(gone.rst.seq);
    if !reset_by_peer || !recent || ahead <= 1 || ahead >= 1 << 24 {
        return;
    }
    tell(Rate::Stray, now, |record: &mut ResetRecord| {
        record.magic = MAGIC;
        record.reason = u32::MAX;
        record.time_ns = now;
        record.sock = 0;
        record.cgroup = 0;
        record.conntrack_full_ns = 0;
        record.netns = netns;
        record.flags = flags::SKB | flags::TOMBSTONE;
        record.kind = kind::STRAY;
        record.sk_class = sk_class::NONE;
        record.state = 0;
        record.subflow = 0;
        record.flow = flow;
        record.segment = seen.segment;
        copy(&mut record.memory, gone);
    });
}
