//! The record of a reset that the stack sent, whatever hook saw it.

use core::ptr::null_mut;

use rstwatch_common::counts::{Counted, LOST_PHANTOM, NO_REASON};
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ConnState, ResetRecord, Task, flags, kind, mark, present, sk_class, state, tcp_flag};

use crate::conn_state::scratch::{self, Purpose};
use crate::conn_state::{lifecycle, phantoms, slots, syns, tombstones};
use crate::emit::counts::{count, count_sent_in};
use crate::emit::head::Head;
use crate::emit::rate::Rate;
use crate::emit::{admit, send, send_head};
use crate::facts::bound;
use crate::facts::cgroup::cgroup_of;
use crate::facts::clock;
use crate::facts::conntrack::conntrack_full_ns;
use crate::facts::netns::struct_of_skb;
use crate::facts::segment::Seen;
use crate::facts::socket::{queue_is_full, read_flow};
use crate::facts::task::read_current;
use crate::facts::tcp::read_tcp;
use crate::kernel::{Base, setting, value};
use crate::words::{clear, copy};

/// One sent reset, before its connection is looked up.
pub struct Sent<S> {
    /// The address of the socket, or 0.
    pub address: u64,
    /// The socket itself, if it is a connection's or a listener.
    pub sk: Option<S>,
    /// The packet that provoked it, or 0.
    pub skb: u64,
    pub netns: u32,
    /// The number of the namespace.
    pub net: u64,
    /// The kernel's reason; `u32::MAX`: none given.
    pub reason: u32,
    pub state: u8,
    pub class: u8,
    /// The segment that provoked it, and the flow from our end.
    pub seen: Seen,
}

/// The connection's state, and the record flags that say where it was found.
type Found<'a> = (Option<&'a ConnState>, u32);

const NOT_FOUND: Found<'static> = (None, 0);

impl<S: Base> Sent<S> {
    /// Looks up the connection's state, and sends the record. `conn_of_sk` returns the state that is kept for `sk`, or NULL. It is
    /// called only where it is needed: a verifier walks all that follows once for each map that the result can point into.
    #[inline(always)]
    pub fn report(&self, conn_of_sk: impl Fn() -> *mut ConnState) {
        let (conn, found) = match self.sk {
            Some(sk) if self.class == sk_class::LISTEN => self.of_listener(sk, conn_of_sk),
            Some(sk) => self.of_connection(sk, conn_of_sk),
            None => self.of_tombstone(),
        };
        self.emit(conn, found);
        count_sent_in(self.netns);
    }

    /// A connection's socket that is alive, or was a moment ago.
    #[inline(always)]
    fn of_connection(&self, sk: S, conn_of_sk: impl Fn() -> *mut ConnState) -> Found<'static> {
        let mut gone = null_mut();
        if self.state == state::CLOSE {
            gone = tombstones::find_just_closed(sk, &self.seen.flow, self.net);
        }
        // The kernel skips recursive invocations, so some closes go unseen.
        let conn = if gone.is_null() { conn_of_sk() } else { gone };
        // SAFETY: the state of a socket that the caller holds, or a tombstone: plain numbers.
        let Some(conn) = (unsafe { conn.as_mut() }) else { return self.without_state(sk) };
        let mut phantom = 0;
        if self.skb == 0 {
            lifecycle::aborted(conn, sk, self.state, self.reason);
        } else if conn.marks & mark::RECEIVED != 0 {
            phantom = phantom_flag(conn.marks & mark::RECEIVED_LOST == 0);
            conn.marks &= !(mark::RECEIVED | mark::RECEIVED_LOST);
        } else {
            // The socket had no slot when it seemed to receive one.
            phantom = phantoms::take(sk).map_or(0, phantom_flag);
        }
        (Some(conn), flags::CONN_STATE | phantom)
    }

    /// The same without a state: an abort leaves its tombstone all the same.
    #[inline(always)]
    fn without_state(&self, sk: S) -> Found<'static> {
        if self.skb != 0 {
            let (gone, found) = self.of_tombstone();
            return (gone, found | phantoms::take(sk).map_or(0, phantom_flag));
        }
        // SAFETY: a slot of this CPU's.
        let Some(conn) = (unsafe { scratch::empty(Purpose::Aborted).as_mut() }) else { return NOT_FOUND };
        lifecycle::aborted_without_slot(conn, sk, self.state, self.reason, 0);
        (Some(conn), flags::CONN_STATE)
    }

    /// A segment that found only a listener: it belongs to a connection that is gone, or to a handshake that failed.
    #[inline(always)]
    fn of_listener(&self, sk: S, conn_of_sk: impl Fn() -> *mut ConnState) -> Found<'static> {
        if let Some(gone) = self.find_gone() {
            return (Some(gone), flags::TOMBSTONE);
        }
        let opens = self.seen.segment.flags & tcp_flag::SYN != 0;
        // The kernel's reason for this is INVALID_SYN too; if it gives none, a SYN with the preceding number must have come.
        let failed = if setting!(has_reason) == 1 {
            !opens && self.seen.segment.payload == 0 && setting!(invalid_syn) == self.reason
        } else {
            !opens && self.completes_handshake()
        };
        let mut overflowed = null_mut();
        if failed && queue_is_full(sk) {
            overflowed = tombstones::insert_overflowed(&self.seen.flow, self.net, &self.seen.segment);
        }
        let handshake = if !opens && self.completes_handshake() { flags::HANDSHAKE } else { 0 };
        // SAFETY: as above.
        let (listener, overflowed) = unsafe { (conn_of_sk().as_ref(), overflowed.as_mut()) };
        let Some(listener) = listener else { return (None, handshake) };
        if let Some(overflowed) = overflowed {
            copy(&mut overflowed.owner, &listener.owner);
        }
        (Some(listener), flags::CONN_STATE | handshake)
    }

    /// Whether the segment's number is that of a handshake's last ACK.
    #[inline(always)]
    fn completes_handshake(&self) -> bool {
        let bare_ack = self.seen.segment.payload == 0 && self.seen.segment.flags & tcp_flag::FIN == 0;
        bare_ack && syns::contains(&self.seen.flow.reversed(), self.seen.segment.seq.wrapping_sub(1))
    }

    /// No socket, a TIME_WAIT mini-socket, or a socket without a state.
    #[inline(always)]
    fn of_tombstone(&self) -> Found<'static> {
        // Without a segment nothing identifies an earlier connection of this flow.
        if self.skb == 0 {
            return NOT_FOUND;
        }
        match self.find_gone() {
            Some(gone) => (Some(gone), flags::TOMBSTONE),
            None => NOT_FOUND,
        }
    }

    /// The tombstone of the connection, or of the attempt to connect, that the segment belonged to. A SYN opens a new one.
    #[inline(always)]
    fn find_gone(&self) -> Option<&'static ConnState> {
        if self.seen.segment.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN {
            return None;
        }
        tombstones::find_for(&self.seen.segment, &self.seen.flow, self.net).map(|gone| &*gone)
    }

    #[inline(always)]
    fn emit(&self, conn: Option<&ConnState>, found: u32) {
        let reason = if self.reason == u32::MAX { NO_REASON } else { self.reason };
        // Flags, not the reference: a compiler joins such conditions bit by bit, which verifiers forbid for pointers.
        let rate = if self.class == sk_class::NONE && found == 0 { Rate::NoSocket } else { Rate::Sent };
        let now = clock::now();
        let owner = || self.sk.map_or(self.netns.into(), cgroup_of);
        if !admit(Counted::Sent, reason, rate, owner, now) {
            return;
        }
        let search = bound::is_readable() && self.is_unmatched(found);
        if self.class == sk_class::NONE && self.skb != 0 && found == 0 && !search {
            send_head(Counted::Sent, now, &self.head(now, found));
            return;
        }
        send(Counted::Sent, now, |record| {
            self.head(now, found).write_to(record);
            if let Some(conn) = conn {
                copy(&mut record.conn, conn);
            }
            self.read_socket(record, now);
            if search {
                // It takes longer than all else here, so it is done within the rate of records only.
                let sk = bound::connection_of(&self.seen.segment, &self.seen.flow, self.net_struct());
                if sk != 0 {
                    note_untranslated(sk, &self.seen, record);
                }
            }
            // When a segment is answered, the running task has nothing to do with it.
            if self.skb == 0 {
                read_current(&mut record.task);
            }
        });
    }

    #[inline(always)]
    fn head(&self, now: u64, found: u32) -> Head<'_> {
        Head {
            kind: kind::SENT,
            reason: self.reason,
            time_ns: now,
            sock: self.address,
            conntrack_full_ns: conntrack_full_ns(self.netns),
            netns: self.netns,
            flags: if self.skb != 0 { found | flags::SKB } else { found },
            sk_class: self.class,
            state: self.state,
            flow: &self.seen.flow,
            segment: Some(&self.seen.segment),
        }
    }

    /// Whether the answered segment acknowledges something in a connection of which nothing is known.
    #[inline(always)]
    fn is_unmatched(&self, found: u32) -> bool {
        let answers = self.seen.segment.present & present::SEGMENT != 0 && self.seen.segment.flags & tcp_flag::ACK != 0;
        let unknown = found & (flags::TOMBSTONE | flags::HANDSHAKE) == 0;
        answers && unknown && (self.class == sk_class::NONE || self.class == sk_class::LISTEN)
    }

    /// The address of the answered segment's `struct net`.
    #[inline(always)]
    fn net_struct(&self) -> u64 {
        // A listener's segment has lost its device by now (net/ipv4/tcp_ipv4.c, tcp_v4_rcv).
        if self.class == sk_class::LISTEN { value!(self.address, skc_net, u64) } else { struct_of_skb(self.skb) }
    }

    /// The facts that only a connection's socket or a listener has.
    #[inline(always)]
    fn read_socket(&self, record: &mut ResetRecord, now: u64) {
        let Some(sk) = self.sk else { return };
        record.flags |= flags::TCP;
        record.subflow = value!(sk, is_mptcp, u8) & 1;
        record.cgroup = cgroup_of(sk);
        read_tcp(sk, now, &mut record.tcp);
    }
}

/// Counts a phantom, and returns the flag of the record that takes its own back: no RST is ever sent in response to an RST, so what
/// tcp_receive_reset reported was data after RCV_SHUTDOWN. `delivered`: there is a record to take back.
#[inline(always)]
fn phantom_flag(delivered: bool) -> u32 {
    count(Counted::Phantom, NO_REASON);
    if delivered {
        return flags::PHANTOM;
    }
    count(Counted::Phantom, LOST_PHANTOM);
    0
}

/// Notes the live connection that the segment belongs to, if its peer has another address. Not inlined: the stack would not hold
/// all (512 bytes for a chain of calls before Linux 6.13).
#[inline(never)]
fn note_untranslated(sk: u64, seen: &Seen, record: &mut ResetRecord) {
    const { assert!(size_of::<Flow>() <= size_of::<Task>()) };
    // The stack has no room for a flow, and the task's is free.
    // SAFETY: aligned room of the record's that nothing else uses; plain numbers.
    let connection = unsafe { &mut *(&raw mut record.task).cast::<Flow>() };
    clear(connection);
    read_flow(sk, connection);
    // The same address: the connection became known a moment after the answer, or a NAT has chosen another port.
    if connection.remote == seen.flow.remote {
        return;
    }
    let (remote, port) = (connection.remote, connection.remote_port);
    record.set_true_remote(&remote, port);
    record.flags |= flags::UNTRANSLATED;
    // SAFETY: a slot of the table: plain numbers.
    if record.sk_class == sk_class::NONE
        && let Some(conn) = unsafe { slots::of_number(sk).as_ref() }
    {
        copy(&mut record.conn, conn);
        record.flags |= flags::CONN_STATE;
    }
}
