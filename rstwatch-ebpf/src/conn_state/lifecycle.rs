//! What each change of a socket's state writes into the state of its connection.

use rstwatch_common::record::{CHALLENGE_NS, ConnState, mark, role, state};

use crate::conn_state::gaps::ended_idle;
use crate::conn_state::ttl::{keep_peer_ttl, take_handshake_ttl};
use crate::conn_state::{slots, tombstones};
use crate::facts::clock::{jiffies, now};
use crate::facts::netns::net_of_sock;
use crate::facts::socket::{
    Ages, ages_of, family_of, flow_of, has_fin, is_orphaned, kept_ttl, lingers_zero, role_of, sends_keepalives,
    unacknowledged, unread_of,
};
use crate::facts::task::{current_tgid, read_current_process};
use crate::kernel::{Base, field, setting, value};
use crate::listeners;
use crate::words::{clear, forgotten};

/// The running task becomes the owner, unless it is a kernel thread, which works on behalf of others.
#[inline(always)]
fn set_owner(conn: &mut ConnState) {
    read_current_process(&mut conn.owner);
}

/// The running task becomes the owner if it called (`called`), or is the owner's process anyway.
#[inline(always)]
fn set_owner_if(conn: &mut ConnState, called: bool) {
    let known = conn.owner.tgid;
    if called || known == current_tgid() {
        set_owner(conn);
    }
}

/// The running task called connect() or listen().
#[inline(always)]
pub fn opened(conn: &mut ConnState, role: u8) {
    set_owner(conn);
    conn.role = role;
}

/// The connection began unseen: before the agent, or when no slot was free. What the socket still shows of its beginning.
#[inline(always)]
pub fn met_late(conn: &mut ConnState, sk: impl Base) {
    if conn.role == role::UNKNOWN {
        (conn.role, conn.ttl) = role_of(sk);
    }
}

/// A listener has a child. It is created in softirq, where the running task is arbitrary: the child gets the listener's owner.
#[inline(always)]
pub fn child_created(conn: &mut ConnState, sk: impl Base) {
    listeners::copy_owner_to_child(sk, &mut conn.owner);
    conn.role = role::SERVER;
}

/// The handshake is complete.
#[inline(never)]
pub fn established(conn: &mut ConnState, sk: impl Base, old_state: u8) {
    // An earlier socket at the same address, if neither its end nor the start of this one was seen.
    if conn.established_ns != 0 {
        clear(conn);
    }
    if old_state == state::SYN_SENT {
        // The start of its attempt may not have been seen.
        conn.role = role::CLIENT;
    } else if conn.role != role::CLIENT {
        conn.role = role::SERVER;
        conn.ttl = kept_ttl(sk, family_of(sk));
        if conn.ttl == 0 {
            conn.ttl = take_handshake_ttl(sk);
        }
    }
    conn.established_ns = now();
    // Clients' ephemeral ports are never connected to, so skip them.
    if conn.role == role::CLIENT && conn.ttl != 0 {
        keep_peer_ttl(sk, conn.ttl);
    }
}

/// The peer's FIN came.
#[inline(always)]
pub fn peer_closed(conn: &mut ConnState, sk: impl Base) {
    let ages = ages_of(sk);
    conn.fin.time_ns = now();
    conn.fin.sent_age = ages.sent;
    conn.fin.received_age = ages.received;
    conn.fin.unread = unread_of(sk);
    conn.fin.segs_out = value!(sk, data_segs_out, u32) as u16;
    if conn.sampled.jiffies != 0 {
        conn.sampled.fin_quiet = quiet_since_sample(conn);
        conn.sampled.fin_segs = (value!(sk, data_segs_in, u32) as u16).wrapping_sub(conn.sampled.segs_in);
    }
    // A client that awaits a response is not idle. Equal times mean a response that came at once.
    let quiet = if ages.sent < ages.received { ages.sent } else { ages.received };
    let awaits_response = ages.sent < ages.received;
    if conn.role == role::CLIENT && !awaits_response && quiet != u32::MAX && quiet >= setting!(hz) {
        ended_idle(sk, quiet);
    }
}

/// Jiffies since the last payload that the last sample saw; at least 1, as 0 means no sample.
#[inline(always)]
fn quiet_since_sample(conn: &ConnState) -> u32 {
    let quiet = jiffies().wrapping_sub(conn.sampled.active);
    if quiet == 0 { 1 } else { quiet }
}

/// A segment, most likely an RST, reached the socket and was not accepted.
#[inline(always)]
pub fn challenged(conn: &mut ConnState, time_ns: u64) {
    let related = time_ns.wrapping_sub(conn.challenge.time_ns) < CHALLENGE_NS;
    conn.challenge.count = if related { conn.challenge.count.saturating_add(1) } else { 1 };
    conn.challenge.time_ns = time_ns;
}

/// The running task closed its side: close(), shutdown(), or exit.
#[inline(never)]
pub fn closed_by_owner(conn: &mut ConnState, sk: impl Base) {
    set_owner(conn);
    conn.marks |= mark::CLOSED_BY_OWNER;
    // close() sets both bits before it changes the state, shutdown() the requested ones.
    if field!(sk, sk_shutdown, u8).unwrap_or(3) & 3 == 2 {
        conn.marks |= mark::HALF_CLOSED;
    }
    closing(conn, sk, now());
}

/// Writes when our side ended and how quiet the connection was, the first time it ends.
#[inline(always)]
fn closing(conn: &mut ConnState, sk: impl Base, now_ns: u64) {
    if conn.closing.time_ns == 0 {
        let ages = ages_of(sk);
        conn.closing.time_ns = now_ns;
        conn.closing.sent_age = ages.sent;
        conn.closing.received_age = ages.received;
        conn.closing.ack_age = telling_ack(&ages, sk);
        quiet_before_closing(conn, sk);
        conn.rcv_nxt = value!(sk, rcv_nxt, u32);
        conn.closing.outstanding = unacknowledged(sk);
    }
}

/// Since the last ACK, in jiffies; `u32::MAX` where we send keepalives: an ACK of those says nothing.
#[inline(always)]
fn telling_ack(ages: &Ages, sk: impl Base) -> u32 {
    if sends_keepalives(sk) { u32::MAX } else { ages.ack }
}

/// How long the connection was quiet before our side ended, and what we have sent since, both from the last sample. The ages
/// alone cannot distinguish a closing message after an idle period from the tail of a long response.
#[inline(always)]
fn quiet_before_closing(conn: &mut ConnState, sk: impl Base) {
    if conn.sampled.jiffies == 0 {
        return;
    }
    conn.sampled.closing_quiet = quiet_since_sample(conn);
    conn.sampled.closing_bytes = narrow((value!(sk, bytes_sent, u64) as u32).wrapping_sub(conn.sampled.bytes_sent));
    conn.sampled.closing_segs = (value!(sk, data_segs_out, u32) as u16).wrapping_sub(conn.sampled.segs_out);
}

#[inline(always)]
fn narrow(count: u32) -> u16 {
    if count > u16::MAX as u32 { u16::MAX } else { count as u16 }
}

/// Finishes a half-closed socket. It reaches CLOSE without another state that is seen, in the call of its holder: close() or
/// exit orphans it before its last state (net/ipv4/tcp.c, __tcp_close). Only then is it closed, and only then is it known how.
#[inline(always)]
fn finish_half_closed(conn: &mut ConnState, sk: impl Base) {
    let orphaned = is_orphaned(sk);
    if conn.marks & mark::HALF_CLOSED == 0 || !orphaned {
        return;
    }
    set_owner_if(conn, false);
    conn.marks &= !mark::HALF_CLOSED;
    conn.closing.time_ns = 0;
    closing(conn, sk, now());
}

/// The socket is gone: its state becomes a tombstone.
#[inline(never)]
pub fn closed(conn: &mut ConnState, sk: impl Base, old_state: u8) {
    conn.closed.time_ns = now();
    if conn.closing.time_ns == 0 {
        // It ended without our doing: by the peer's RST, or silently.
        let ages = ages_of(sk);
        conn.closing.sent_age = ages.sent;
        conn.closing.received_age = ages.received;
        conn.closing.ack_age = telling_ack(&ages, sk);
        conn.closing.outstanding = unacknowledged(sk);
    }
    finish_half_closed(conn, sk);
    conn.old_state = old_state;
    read_bytes(conn, sk);
    let rcv_nxt = value!(sk, rcv_nxt, u32);
    // Only a FIN came after SHUT_WR: it was the first half of a close (haproxy and others close so).
    if rcv_nxt.wrapping_sub(conn.rcv_nxt) <= 1 {
        conn.marks &= !mark::HALF_CLOSED;
    }
    conn.rcv_nxt = rcv_nxt;
    conn.snd_nxt = value!(sk, snd_nxt, u32);
    if !peer_is_finished(conn, sk, old_state) {
        let owner = slots::owner(conn);
        tombstones::insert(conn, &flow_of(sk), net_of_sock(sk), owner, is_lasting(conn));
    }
}

#[inline(always)]
fn read_bytes(conn: &mut ConnState, sk: impl Base) {
    conn.closed.bytes_sent = value!(sk, bytes_sent, u64);
    conn.closed.bytes_received = value!(sk, bytes_received, u64);
}

/// Our side closes a connection that has no slot: its tombstone is written at once.
#[inline(never)]
pub fn closed_without_slot(conn: &mut ConnState, sk: impl Base, owner: u64) {
    met_late(conn, sk);
    closed_by_owner(conn, sk);
    // shutdown() closes one direction, and the rest of the connection's life is not seen.
    if conn.marks & mark::HALF_CLOSED == 0 {
        leave_tombstone(conn, sk, owner);
    }
}

/// The same where our side aborts it.
#[inline(never)]
pub fn aborted_without_slot(conn: &mut ConnState, sk: impl Base, reset_state: u8, reason: u32, owner: u64) {
    met_late(conn, sk);
    if has_fin(sk) {
        conn.old_state = state::CLOSE_WAIT;
    } else if is_orphaned(sk) && (value!(sk, linger2, u32) as i32) < 0 {
        // TCP_LINGER2: close() aborts as soon as the peer has acknowledged the FIN.
        conn.old_state = state::FIN_WAIT2;
    }
    aborted(conn, sk, reset_state, reason);
    leave_tombstone(conn, sk, owner);
}

#[inline(always)]
fn leave_tombstone(conn: &mut ConnState, sk: impl Base, owner: u64) {
    conn.closed.time_ns = conn.closing.time_ns;
    read_bytes(conn, sk);
    conn.snd_nxt = value!(sk, snd_nxt, u32);
    tombstones::insert(conn, &flow_of(sk), net_of_sock(sk), owner, is_lasting(conn));
}

/// Connections older than this are few.
const OLD_NS: u64 = 5_000_000_000;

/// Whether a late segment is likely to ask for the connection long after: it was old, or ended after one end had been silent for
/// a second or more. The end that closes may have sent a closing message just before.
#[inline(always)]
fn is_lasting(conn: &ConnState) -> bool {
    let second = setting!(hz);
    let fin = conn.fin.time_ns != 0 && conn.fin.sent_age >= second;
    let old = conn.established_ns != 0 && conn.closed.time_ns.wrapping_sub(conn.established_ns) >= OLD_NS;
    let lasting = conn.closing.received_age >= second || fin || old;
    forgotten(lasting.into()) != 0
}

/// The socket is gone before the handshake was complete: its SYN-ACK may still come.
#[inline(never)]
pub fn attempt_ended(conn: &mut ConnState, sk: impl Base) {
    // An RST answered the SYN, so nothing is under way.
    if conn.marks & mark::RECEIVED != 0 {
        return;
    }
    conn.closed.time_ns = now();
    // The start of the attempt may not have been seen.
    conn.role = role::CLIENT;
    conn.old_state = state::SYN_SENT;
    conn.snd_nxt = value!(sk, snd_nxt, u32);
    let owner = slots::owner(conn);
    tombstones::insert(conn, &flow_of(sk), net_of_sock(sk), owner, false);
}

/// Whether the peer can send nothing any more: it has sent its FIN, and then acknowledged ours. Its socket is in TIME_WAIT, or
/// gone (RFC 9293 section 3.6). LAST_ACK leads to CLOSE in this way (net/ipv4/tcp_input.c, tcp_rcv_state_process:
/// `snd_una == write_seq`), or by an RST or a timer, which leave the FIN unacknowledged. Only the end that closed first can
/// receive a late segment, so only that end needs a tombstone.
#[inline(always)]
fn peer_is_finished(conn: &ConnState, sk: impl Base, old_state: u8) -> bool {
    let other_end = mark::RECEIVED | mark::ABORTED | mark::HALF_CLOSED;
    old_state == state::LAST_ACK && conn.marks & other_end == 0 && conn.rst.time_ns == 0 && unacknowledged(sk) == 0
}

/// Our side aborted a live connection: by close() in the owner's context if the state is CLOSE already,
/// else from outside or by a timer, where the running task is arbitrary.
#[inline(never)]
pub fn aborted(conn: &mut ConnState, sk: impl Base, reset_state: u8, reason: u32) {
    // A number: some verifiers assume that a typed pointer is never NULL.
    let accepted = field!(sk.address(), sk_socket, u64) != Some(0);
    if reset_state == state::CLOSE {
        // A child that was never accepted may be dropped in softirq too, where the running task is arbitrary.
        set_owner_if(conn, accepted);
    }
    let now_ns = now();
    closing(conn, sk, now_ns);
    conn.reset.time_ns = now_ns;
    conn.reset.reason = reason;
    conn.reset_state = reset_state;
    conn.reset.unread = unread_of(sk);
    conn.marks |= mark::ABORTED;
    // close() orphans before some of its aborts: such a socket was accepted, and closed by its owner. A child that was never
    // accepted is disconnected before it is orphaned (net/ipv4/inet_connection_sock.c, inet_child_forget).
    if is_orphaned(sk) {
        conn.marks |= mark::ORPHANED | mark::CLOSED_BY_OWNER;
    } else if !accepted && conn.marks & mark::CLOSED_BY_OWNER == 0 {
        conn.marks |= mark::UNACCEPTED;
    }
    conn.rcv_nxt = value!(sk, rcv_nxt, u32);
    conn.snd_nxt = value!(sk, snd_nxt, u32);
    if lingers_zero(sk) {
        conn.marks |= mark::LINGER0;
    }
    if value!(sk, icsk_probes_out, u8) > 0 && value!(sk, packets_out, u32) == 0 {
        conn.marks |= mark::PROBING;
    }
}
