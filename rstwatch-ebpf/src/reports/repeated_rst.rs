//! An RST for a connection that an earlier RST has ended: evidence about the earlier one.

use rstwatch_common::record::{flags, kind, mark, present, sk_class};

use crate::conn_state::tombstones;
use crate::emit::emit_uncounted;
use crate::emit::head::Head;
use crate::emit::rate::Rate;
use crate::facts::clock::now;
use crate::facts::segment::Seen;
use crate::words::copy;

/// Injectors send their bursts at once.
const WINDOW_NS: u64 = 5_000_000_000;

/// Reports an RST whose sequence number is ahead of the accepted one's. (An RST behind it is an ordinary response to a segment
/// that was in flight when the peer aborted; one that is ahead by one answers a segment that acknowledged a FIN.)
///
/// The flow of `seen` is from our end.
#[inline(always)]
pub fn report(seen: &Seen, netns: u32, net: u64) {
    // SAFETY: a slot may be reused at any time; it holds plain numbers.
    let Some(gone) = (unsafe { tombstones::find_reset(&seen.flow, net).as_ref() }) else { return };
    let accepted = &gone.rst.segment;
    let reset_by_peer = accepted.present & present::SEGMENT != 0 && gone.marks & mark::ABORTED == 0;
    let now = now();
    let recent = now.wrapping_sub(gone.rst.time_ns) < WINDOW_NS;
    let ahead = seen.segment.seq.wrapping_sub(accepted.seq);
    if !reset_by_peer || !recent || ahead <= 1 || ahead >= 1 << 24 {
        return;
    }
    emit_uncounted(Rate::RepeatedRst, now, |record| {
        Head {
            kind: kind::REPEATED_RST,
            reason: u32::MAX,
            time_ns: now,
            sock: 0,
            conntrack_full_ns: 0,
            netns,
            flags: flags::SKB | flags::TOMBSTONE,
            sk_class: sk_class::NONE,
            state: 0,
            flow: &seen.flow,
            segment: Some(&seen.segment),
        }
        .write_to(record);
        copy(&mut record.conn, gone);
    });
}
