//! What is kept of a socket, and for a while after it is gone.

use rstwatch_common::flow::Flow;
use rstwatch_common::record::{Memory, Segment, Task, mark, role, sock_flag, state, tcp_flag};

use crate::facts::{ages_of, current_process, family_of, flow_of, jiffies, kept_ttl, now, unread_of};
use crate::gaps::ended_idle;
use crate::kernel::{Base, clear, field, setting, value};
use crate::listeners;
use crate::maps::NOTHING;
use crate::netns::net_of_sock;
use crate::tombstones::{bury, find};
use crate::ttl::{remember_ttl, take_handshake_ttl};

/// No task.
pub const NO_TASK: Task = Task { start_ns: 0, cgroup: 0, tgid: 0, flags: 0, exit_code: 0, reserved: 0, comm: [0; 16] };

/// The running task becomes the owner, unless it is a kernel thread, which works for somebody else.
#[inline(always)]
pub fn own(memory: &mut Memory) {
    current_process(&mut memory.owner);
}

/// The running task becomes the owner if it surely is: it called, or is the owner's process anyway.
#[inline(always)]
fn own_if(memory: &mut Memory, surely: bool) {
    let known = memory.owner.tgid;
    if surely || known == (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32 {
        own(memory);
    }
}

/// connect() or listen() was called by the running task.
#[inline(always)]
pub fn opened(memory: &mut Memory, role: u8) {
    own(memory);
    memory.role = role;
}

/// A listener has a child. It is made in softirq, where the running task is anybody: the listener's owner is the child's.
#[inline(always)]
pub fn born(memory: &mut Memory, sk: impl Base) {
    listeners::owner_of_child(sk, &mut memory.owner);
    memory.role = role::SERVER;
}

/// The handshake is complete.
#[inline(never)]
pub fn established(memory: &mut Memory, sk: impl Base, old_state: u8) {
    // Left by a socket at the same address, whose end was not seen, nor this one's beginning.
    if memory.established_ns != 0 {
        clear(memory);
    }
    if old_state == state::SYN_SENT {
        // The beginning of its attempt may not have been seen.
        memory.role = role::CLIENT;
    } else if memory.role != role::CLIENT {
        memory.role = role::SERVER;
        memory.ttl = kept_ttl(sk, family_of(sk));
        if memory.ttl == 0 {
            memory.ttl = take_handshake_ttl(sk);
        }
    }
    memory.established_ns = now();
    // Attempts are made to where connections were made before. Who came from a port that changes with each is nobody's aim.
    if memory.role == role::CLIENT && memory.ttl != 0 {
        remember_ttl(sk, memory.ttl);
    }
}

/// The peer's FIN came.
#[inline(always)]
pub fn peer_closed(memory: &mut Memory, sk: impl Base) {
    let ages = ages_of(sk);
    memory.fin_ns = now();
    memory.fin_sent = ages.sent;
    memory.fin_received = ages.received;
    memory.fin_unread = unread_of(sk);
    memory.fin_segs_out = value!(sk, data_segs_out, u32) as u16;
    if memory.sampled != 0 {
        let quiet = jiffies().wrapping_sub(memory.active);
        memory.fin_quiet = if quiet == 0 { 1 } else { quiet };
        memory.fin_said_segs = (value!(sk, data_segs_in, u32) as u16).wrapping_sub(memory.sampled_segs_in);
    }
    // Who asked and was not answered was no idle client; a tie of the jiffies is an answer that came at once.
    let quiet = if ages.sent < ages.received { ages.sent } else { ages.received };
    let open = ages.sent < ages.received;
    if memory.role == role::CLIENT && !open && quiet != u32::MAX && quiet >= setting!(hz) {
        ended_idle(sk, quiet);
    }
}

/// A segment, most likely an RST, reached the socket and was not accepted.
#[inline(always)]
pub fn challenged(memory: &mut Memory, time_ns: u64) {
    memory.challenges = memory.challenges.saturating_add(1);
    memory.challenge_ns = time_ns;
}

/// The running task closed its side: close(), shutdown(), or exit.
#[inline(never)]
pub fn closed_by_owner(memory: &mut Memory, sk: impl Base) {
    own(memory);
    memory.marks |= mark::CLOSED_BY_OWNER;
    // close() sets both bits before it changes the state, shutdown() those that it was asked for.
    if field!(sk, sk_shutdown, u8).unwrap_or(3) & 3 == 2 {
        memory.marks |= mark::HALF_CLOSED;
    }
    closing(memory, sk, now());
}

/// Times and silence of our side's end, the first time it ends.
#[inline(always)]
fn closing(memory: &mut Memory, sk: impl Base, now_ns: u64) {
    if memory.closing_ns == 0 {
        let ages = ages_of(sk);
        memory.closing_ns = now_ns;
        memory.closing_sent = ages.sent;
        memory.closing_received = ages.received;
        // The answer to a keepalive of ours tells nothing.
        let probes = value!(sk, skc_flags, u32) & sock_flag::KEEPOPEN != 0;
        memory.closing_ack = if probes { ages.received } else { ages.ack };
        quiet_before(memory, sk);
        memory.rcv_nxt = value!(sk, rcv_nxt, u32);
        memory.closing_outstanding = unacknowledged(sk);
    }
}

/// Bytes written and not acknowledged.
#[inline(always)]
fn unacknowledged(sk: impl Base) -> u32 {
    let written = value!(sk, write_seq, u32);
    written.wrapping_sub(field!(sk, snd_una, u32).unwrap_or(written))
}

/// A half-closed socket ends for good without another state that is seen, in the call of whoever held it: close() or exit
/// orphans it before its last state (net/ipv4/tcp.c, __tcp_close). Only then is it closed, and only then is it known how.
#[inline(always)]
fn let_go(memory: &mut Memory, sk: impl Base) {
    let orphaned = value!(sk, skc_flags, u32) & sock_flag::DEAD != 0;
    if memory.marks & mark::HALF_CLOSED == 0 || !orphaned {
        return;
    }
    own_if(memory, false);
    memory.marks &= !mark::HALF_CLOSED;
    memory.closing_ns = 0;
    closing(memory, sk, now());
}

/// What the last sample knew of the silence before our side ended, and what we have said since. A goodbye after a silence
/// and the end of a long answer look alike in the ages alone.
#[inline(always)]
fn quiet_before(memory: &mut Memory, sk: impl Base) {
    if memory.sampled == 0 {
        return;
    }
    let quiet = jiffies().wrapping_sub(memory.active);
    memory.closing_quiet = if quiet == 0 { 1 } else { quiet };
    memory.closing_said = narrow((value!(sk, bytes_sent, u64) as u32).wrapping_sub(memory.sampled_sent));
    memory.closing_segs = (value!(sk, data_segs_out, u32) as u16).wrapping_sub(memory.sampled_segs);
}

#[inline(always)]
fn narrow(count: u32) -> u16 {
    if count > u16::MAX as u32 { u16::MAX } else { count as u16 }
}

/// The socket is gone: what is known of it moves to the tombstones.
#[inline(never)]
pub fn closed(memory: &mut Memory, sk: impl Base, old_state: u8) {
    memory.closed_ns = now();
    if memory.closing_ns == 0 {
        // It ended without our doing: by the peer's RST, or in silence.
        let ages = ages_of(sk);
        memory.closing_sent = ages.sent;
        memory.closing_received = ages.received;
        memory.closing_ack = ages.ack;
        memory.closing_outstanding = unacknowledged(sk);
    }
    let_go(memory, sk);
    memory.old_state = old_state;
    memory.bytes_sent = value!(sk, bytes_sent, u64);
    memory.bytes_received = value!(sk, bytes_received, u64);
    let rcv_nxt = value!(sk, rcv_nxt, u32);
    // Nothing but a FIN came after SHUT_WR: it was the first half of a close (haproxy and others close so).
    if rcv_nxt.wrapping_sub(memory.rcv_nxt) <= 1 {
        memory.marks &= !mark::HALF_CLOSED;
    }
    memory.rcv_nxt = rcv_nxt;
    memory.snd_nxt = value!(sk, snd_nxt, u32);
    if !over(memory, sk, old_state) {
        bury(memory, &flow_of(sk), net_of_sock(sk));
    }
}

/// Whether the peer can send nothing any more: it has sent its FIN, and has acknowledged ours, which it took after that. Its
/// socket is in TIME_WAIT, or gone (RFC 9293 section 3.6). LAST_ACK leads to CLOSE in this way (net/ipv4/tcp_input.c,
/// tcp_rcv_state_process: `snd_una == write_seq`), or by an RST or a timer, which leave the FIN unacknowledged. Only the end
/// that closed first can be met by a late segment, so only it leaves a tombstone.
#[inline(always)]
fn over(memory: &Memory, sk: impl Base, old_state: u8) -> bool {
    let spoiled = mark::RECEIVED | mark::ABORTED | mark::HALF_CLOSED;
    old_state == state::LAST_ACK && memory.marks & spoiled == 0 && memory.rst_ns == 0 && unacknowledged(sk) == 0
}

/// Our side aborted a live connection: by close() in the owner's context where the state is CLOSE already,
/// else from outside or by a timer, where the running task is anybody.
#[inline(never)]
pub fn aborted(memory: &mut Memory, sk: impl Base, reset_state: u8, reason: u32) {
    // A number: some verifiers hold a typed pointer for never NULL.
    let accepted = field!(sk.address(), sk_socket, u64) != Some(0);
    if reset_state == state::CLOSE {
        // A child that nobody accepted may be dropped in softirq too: then the running task is anybody.
        own_if(memory, accepted);
    }
    let now_ns = now();
    closing(memory, sk, now_ns);
    memory.reset_ns = now_ns;
    memory.reset_reason = reason;
    memory.reset_state = reset_state;
    memory.unread = unread_of(sk);
    memory.marks |= mark::ABORTED;
    // close() orphans before some of its aborts: such a socket was accepted, and closed by its owner.
    if !accepted && memory.marks & mark::CLOSED_BY_OWNER == 0 {
        memory.marks |= mark::UNACCEPTED;
    }
    memory.rcv_nxt = value!(sk, rcv_nxt, u32);
    memory.snd_nxt = value!(sk, snd_nxt, u32);
    let lingers = value!(sk, skc_flags, u32) & sock_flag::LINGER != 0;
    if lingers && field!(sk, sk_lingertime, u64) == Some(0) {
        memory.marks |= mark::LINGER0;
    }
    if value!(sk, skc_flags, u32) & sock_flag::DEAD != 0 {
        memory.marks |= mark::ORPHANED;
    }
    if value!(sk, icsk_probes_out, u8) > 0 && value!(sk, packets_out, u32) == 0 {
        memory.marks |= mark::PROBING;
    }
}

/// The last segment of a handshake met a full accept queue. What the client sends next finds nothing: a consequence. The owner
/// is for the caller to enter, if the listener's is known.
#[inline(never)]
pub fn overflowed(flow: &Flow, net: u64, segment: &Segment) -> *mut Memory {
    let buried = NOTHING.get(0).map_or(core::ptr::null_mut(), |nothing| bury(nothing, flow, net));
    // SAFETY: as in `tombstone`.
    if let Some(buried) = unsafe { buried.as_mut() } {
        buried.marks = mark::OVERFLOWED;
        buried.rcv_nxt = segment.seq;
        buried.snd_nxt = segment.ack;
        buried.reset_reason = u32::MAX;
        buried.reset_ns = now();
        buried.closed_ns = buried.reset_ns;
        buried.role = role::SERVER;
    }
    buried
}

/// What is remembered of the connection that a segment belonged to.
///
/// Ports are reused, so the segment's numbers must be near those of the connection that is gone.
#[inline(always)]
pub fn tombstone(flow: &Flow, net: u64, segment: &Segment) -> Option<&'static mut Memory> {
    // SAFETY: a place may be reused under us; it holds plain numbers, so at worst a record mixes two.
    let memory = unsafe { find(flow, net).as_mut() }?;
    let acknowledges = segment.flags & tcp_flag::ACK != 0;
    let same = near(segment.seq, memory.rcv_nxt) && (!acknowledges || near(segment.ack, memory.snd_nxt));
    same.then_some(memory)
}

/// What is remembered of a connection that was closed just before, in the same call, or NULL. Some of the kernel's functions
/// set CLOSE first and send the RST then.
#[inline(always)]
pub fn just_closed(sk: impl Base, flow: &Flow, net: u64) -> *mut Memory {
    let kept = find(flow, net);
    // SAFETY: as in `tombstone`.
    let same = unsafe { kept.as_ref() }
        .is_some_and(|memory| memory.rcv_nxt == value!(sk, rcv_nxt, u32) && memory.snd_nxt == value!(sk, snd_nxt, u32));
    if same { kept } else { core::ptr::null_mut() }
}

/// Whether two sequence numbers are of one connection: within 16 MiB, more than most windows.
#[inline(always)]
fn near(left: u32, right: u32) -> bool {
    left.wrapping_sub(right).wrapping_add(1 << 24) < 1 << 25
}
