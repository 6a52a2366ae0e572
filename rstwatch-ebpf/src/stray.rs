//! An RST for a connection that an earlier RST has ended: evidence about the earlier one.

use rstwatch_common::record::{MAGIC, ResetRecord, flags, kind, mark, present, sk_class};

use crate::emit::{Rate, tell};
use crate::facts::now;
use crate::kernel::{clear, copy};
use crate::memory;
use crate::segment::Seen;

/// Injectors send their bursts at once.
const WINDOW_NS: u64 = 5_000_000_000;

/// Reports an RST that claims to be ahead of the one that was accepted. (One behind it is an ordinary answer to a segment
/// that was under way when the peer aborted; one that is ahead by one answers a segment that acknowledged a FIN.)
#[inline(always)]
pub fn rst(seen: &Seen, netns: u32) {
    let flow = seen.flow.reversed();
    // SAFETY: an LRU element may be reused under us; it holds plain numbers.
    let Some(gone) = (unsafe { memory::find(&flow, netns).as_ref() }) else { return };
    let reset_by_peer = gone.rst.present & present::SEGMENT != 0 && gone.marks & mark::ABORTED == 0;
    let recent = now().wrapping_sub(gone.rst_ns) < WINDOW_NS;
    let ahead = seen.segment.seq.wrapping_sub(gone.rst.seq);
    if !reset_by_peer || !recent || ahead <= 1 || ahead >= 1 << 24 {
        return;
    }
    tell(Rate::Stray, |record: &mut ResetRecord, time_ns| {
        record.magic = MAGIC;
        record.reason = u32::MAX;
        record.time_ns = time_ns;
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
        clear(&mut record.tcp);
        copy(&mut record.memory, gone);
        clear(&mut record.task);
    });
}
