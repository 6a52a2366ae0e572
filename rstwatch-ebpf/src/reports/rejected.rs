//! The record of a firewall reject, seen or inferred.

use rstwatch_common::counts::{Counted, NO_REASON};
use rstwatch_common::record::{flags, kind, sk_class};

use crate::emit::head::Head;
use crate::emit::rate::Rate;
use crate::emit::{admit, send_head};
use crate::facts::clock::now;
use crate::facts::conntrack::conntrack_full_ns;
use crate::facts::segment::Seen;

/// netfilter answered the segment in `netns`. `extra`: record flags in addition to the segment's.
///
/// The flow is seen from the end in whose name netfilter answered.
#[inline(always)]
pub fn report(rejected: &Seen, netns: u32, time_ns: u64, extra: u32) {
    let now = now();
    if !admit(Counted::Firewall, NO_REASON, Rate::Firewall, || netns.into(), now) {
        return;
    }
    let head = Head {
        kind: kind::FIREWALL,
        reason: u32::MAX,
        time_ns,
        sock: 0,
        conntrack_full_ns: conntrack_full_ns(netns),
        netns,
        flags: flags::SKB | extra,
        sk_class: sk_class::NONE,
        state: 0,
        flow: &rejected.flow,
        segment: Some(&rejected.segment),
    };
    send_head(Counted::Firewall, now, &head);
}
