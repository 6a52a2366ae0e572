//! The record of a reset that a socket accepted.

use rstwatch_common::counts::{Counted, NO_REASON};
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ConnState, flags, kind, sk_class};

use crate::conn_state::ends;
use crate::emit::head::Head;
use crate::emit::rate::Rate;
use crate::emit::{admit, send};
use crate::facts::cgroup::cgroup_of;
use crate::facts::conntrack::conntrack_full_ns;
use crate::facts::tcp::read_tcp;
use crate::kernel::{Base, Typed, value};
use crate::words::copy;

/// The socket `sk` accepted an RST; returns whether the detail was sent.
#[inline(always)]
pub fn report(sk: Typed, netns: u32, flow: &Flow, conn: &ConnState, now: u64) -> bool {
    if !admit(Counted::Received, NO_REASON, Rate::Received, || cgroup_of(sk), now) {
        return false;
    }
    send(Counted::Received, now, |record| {
        Head {
            kind: kind::RECEIVED,
            reason: u32::MAX,
            time_ns: now,
            sock: sk.address(),
            conntrack_full_ns: conntrack_full_ns(netns),
            netns,
            flags: flags::TCP | flags::CONN_STATE,
            sk_class: sk_class::FULL,
            state: value!(sk, skc_state, u8),
            flow,
            segment: Some(&conn.rst.segment),
        }
        .write_to(record);
        record.flags |= flags::OTHER_END_ALIVE * ends::is_other_alive(sk, flow, conn.role);
        record.subflow = value!(sk, is_mptcp, u8) & 1;
        record.cgroup = cgroup_of(sk);
        copy(&mut record.conn, conn);
        read_tcp(sk, now, &mut record.tcp);
    })
}
