//! The record of a firewall reject, however it was seen.

use rstwatch_common::counts::{Counted, NO_REASON};
use rstwatch_common::record::{MAGIC, flags, kind, sk_class};

use crate::emit::{Rate, emit};
use crate::facts::now;
use crate::maps::conntrack_full_ns;
use crate::segment::Seen;

/// netfilter answered the segment in `netns`. `extra`: record flags beside the segment's.
///
/// The flow is seen from the end in whose name it answered.
#[inline(always)]
pub fn report(rejected: &Seen, netns: u32, time_ns: u64, extra: u32) {
    emit(Counted::Firewall, NO_REASON, Rate::Firewall, now(), |record| {
        record.magic = MAGIC;
        record.reason = u32::MAX;
        record.time_ns = time_ns;
        record.sock = 0;
        record.cgroup = 0;
        record.conntrack_full_ns = conntrack_full_ns(netns);
        record.netns = netns;
        record.flags = flags::SKB | extra;
        record.kind = kind::FIREWALL;
        record.sk_class = sk_class::NONE;
        record.state = 0;
        record.subflow = 0;
        record.flow = rejected.flow.reversed();
        record.segment = rejected.segment;
    });
}
