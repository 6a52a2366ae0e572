//! The record of a reset that the stack sent, however it was seen.

use rstwatch_common::counts::{Counted, LOST_PHANTOM, NO_REASON};
use rstwatch_common::record::{MAGIC, Memory, flags, kind, mark, sk_class, state, tcp_flag};

use crate::emit::{Rate, count, count_in, emit};
use crate::facts;
use crate::kernel::{Base, copy, setting, value};
use crate::maps::conntrack_full_ns;
use crate::memory;
use crate::segment::Seen;
use crate::syns;

/// One sent reset, before it is looked up.
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
    /// What provoked it, and the flow from our end.
    pub seen: Seen,
}

/// What is remembered, and the record flags that say where it was found.
type Remembered<'a> = (Option<&'a Memory>, u32);

impl<S: Base> Sent<S> {
    /// Looks up what is remembered of the connection, and sends the record. `kept` tells what is kept of `sk`, or NULL. It is
    /// asked only where it is needed: a verifier walks all that follows for each place that the answer can point at.
    #[inline(always)]
    pub fn report(&self, kept: impl Fn() -> *mut Memory) {
        let (remembered, found) = match self.sk {
            Some(sk) if self.class == sk_class::LISTEN => self.of_listener(sk, kept),
            Some(sk) => self.of_connection(sk, kept),
            None => self.of_nothing(),
        };
        self.emit(remembered, found);
        count_in(self.netns);
    }

    /// A connection's socket that is (or was, a moment ago) alive.
    #[inline(always)]
    fn of_connection(&self, sk: S, kept: impl Fn() -> *mut Memory) -> Remembered<'static> {
        let mut remembered = core::ptr::null_mut();
        if self.state == state::CLOSE {
            remembered = memory::just_closed(sk, &self.seen.flow, self.net);
        }
        // A program that is interrupted by itself does not run the second time, so not each close is seen.
        let kept = if remembered.is_null() { kept() } else { remembered };
        // SAFETY: kept of a socket that the caller holds, or a tombstone: plain numbers.
        let Some(kept) = (unsafe { kept.as_mut() }) else { return self.of_nothing() };
        let mut phantom = 0;
        if self.skb == 0 {
            memory::aborted(kept, sk, self.state, self.reason);
        } else if kept.marks & mark::RECEIVED != 0 {
            // No RST is ever sent for an RST: what tcp_receive_reset reported was data after RCV_SHUTDOWN.
            count(Counted::Phantom, NO_REASON);
            if kept.marks & mark::RECEIVED_LOST == 0 {
                phantom = flags::PHANTOM;
            } else {
                // There is no record that this one takes back.
                count(Counted::Phantom, LOST_PHANTOM);
            }
            kept.marks &= !(mark::RECEIVED | mark::RECEIVED_LOST);
        }
        (Some(kept), flags::MEMORY | phantom)
    }

    /// A segment that found no connection, only a listener: of one that is gone, or of a handshake that failed.
    #[inline(always)]
    fn of_listener(&self, sk: S, kept: impl Fn() -> *mut Memory) -> Remembered<'static> {
        let opens = self.seen.segment.flags & tcp_flag::SYN != 0;
        if !opens && let Some(gone) = memory::tombstone(&self.seen.flow, self.net, &self.seen.segment) {
            return (Some(gone), flags::TOMBSTONE);
        }
        // INVALID_SYN is the kernel's word for this too; where it gives none, a SYN with the number before must have come.
        let gave_up = if setting!(has_reason) == 1 {
            !opens && self.seen.segment.payload == 0 && setting!(invalid_syn) == self.reason
        } else {
            !opens && self.completes_handshake()
        };
        let mut buried = core::ptr::null_mut();
        if gave_up && facts::queue_is_full(sk) {
            buried = memory::overflowed(&self.seen.flow, self.net, &self.seen.segment);
        }
        // SAFETY: as above.
        let (kept, buried) = unsafe { (kept().as_ref(), buried.as_mut()) };
        let Some(kept) = kept else { return (None, 0) };
        if let Some(buried) = buried {
            copy(&mut buried.owner, &kept.owner);
        }
        let completes = !opens && self.completes_handshake();
        (Some(kept), flags::MEMORY | if completes { flags::HANDSHAKE } else { 0 })
    }

    /// Whether the segment is where a handshake's last ACK would be.
    #[inline(always)]
    fn completes_handshake(&self) -> bool {
        let bare_ack = self.seen.segment.payload == 0 && self.seen.segment.flags & tcp_flag::FIN == 0;
        bare_ack && syns::came(&self.seen.flow.reversed(), self.seen.segment.seq.wrapping_sub(1))
    }

    /// No socket, a TIME_WAIT mini-socket, or a socket without memory.
    #[inline(always)]
    fn of_nothing(&self) -> Remembered<'static> {
        // Without a segment there is nothing to tell an earlier connection of this flow by.
        if self.skb == 0 || self.seen.segment.flags & tcp_flag::SYN != 0 {
            return (None, 0);
        }
        match memory::tombstone(&self.seen.flow, self.net, &self.seen.segment) {
            Some(gone) => (Some(gone), flags::TOMBSTONE),
            None => (None, 0),
        }
    }

    #[inline(always)]
    fn emit(&self, remembered: Option<&Memory>, found: u32) {
        let reason = if self.reason == u32::MAX { NO_REASON } else { self.reason };
        // Flags, not the reference: a compiler joins such questions bit by bit, which verifiers forbid for pointers.
        let rate = if self.class == sk_class::NONE && found == 0 { Rate::NoSocket } else { Rate::Sent };
        let now = facts::now();
        emit(Counted::Sent, reason, rate, now, |record| {
            record.magic = MAGIC;
            record.reason = self.reason;
            record.time_ns = now;
            record.sock = self.address;
            record.conntrack_full_ns = conntrack_full_ns(self.netns);
            record.netns = self.netns;
            record.kind = kind::SENT;
            record.sk_class = self.class;
            record.state = self.state;
            record.subflow = 0;
            copy(&mut record.flow, &self.seen.flow);
            copy(&mut record.segment, &self.seen.segment);
            match remembered {
                Some(memory) => copy(&mut record.memory, memory),
                None => {}
            }
            record.flags = found;
            if self.skb != 0 {
                record.flags |= flags::SKB;
            }
            self.fill_from_socket(record, now);
            // Whoever runs when a segment is answered has nothing to do with it.
            if self.skb == 0 {
                facts::current(&mut record.task);
            }
        });
    }

    /// What only a connection's socket or a listener has.
    #[inline(always)]
    fn fill_from_socket(&self, record: &mut rstwatch_common::record::ResetRecord, now: u64) {
        let Some(sk) = self.sk else {
            record.cgroup = 0;
            return;
        };
        record.flags |= flags::TCP;
        record.subflow = value!(sk, is_mptcp, u8) & 1;
        record.cgroup = facts::cgroup_of(sk);
        facts::tcp_facts(sk, now, &mut record.tcp);
    }
}
