//! Evidence of sent resets: mostly the kernel's own reason.

use std::net::SocketAddr;
use std::time::Duration;

use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ConnState, ResetRecord, flags, present, role, sk_class, tcp_flag};

use crate::addresses::ends;

use super::{Actor, Answered, Context, Ending, Firewall, Reason, Sent, SocketClass, end, facts, forgery, idle};

/// A full conntrack table explains a timeout only if it was full at most this long before.
const MAX_FULL_BEFORE_TIMEOUT: Duration = Duration::from_secs(120);
/// A full conntrack table explains a reject only if it was full at most this long before.
const MAX_FULL_BEFORE_REJECT: Duration = Duration::from_secs(10);

pub(super) fn evidence(record: &ResetRecord, context: &Context) -> Sent {
    let (reason, given) = Reason::of(record, &context.reasons);
    // The connection that an untranslated segment belongs to is alive.
    let mut end = end::of(record, context).filter(|_| record.flags & flags::UNTRANSLATED == 0);
    // For an active reset, the connection state holds the kernel's number of the reason. Where that has no name, use the
    // derived reason.
    if let Some(end) = &mut end
        && let Ending::Aborted(abort) = &mut end.ending
        && !given
        && record.flags & flags::SKB == 0
    {
        abort.reason = reason;
    }
    Sent {
        reason,
        derived: !given,
        answered: answered(record),
        socket: socket_class(record.sk_class),
        end,
        queue_full: record.tcp.ack_backlog > record.tcp.max_ack_backlog,
        subflow: record.subflow != 0,
        opened_unused: unused(record) && opened(&record.conn) == Some(true),
        maybe_opened_unused: unused(record) && opened(&record.conn).is_none(),
        silence_before_unread: silence_before_unread(record, context),
        resumed: resumed(record),
        ended_by: None,
        ended_because: None,
        conntrack_full: conntrack_full(record)
            .filter(|full| *full <= peer_silence(record, context).min(MAX_FULL_BEFORE_TIMEOUT)),
        untranslated: untranslated(record),
        actor: Actor::of(record),
    }
}

/// The remote end of the live connection that the segment belongs to, if it bears another address.
fn untranslated(record: &ResetRecord) -> Option<SocketAddr> {
    let (remote, remote_port) = record.true_remote();
    // With another port alone, a NAT has translated the connection anew.
    let untranslated = record.flags & flags::UNTRANSLATED != 0 && remote != record.flow.remote;
    untranslated.then(|| ends(&Flow { remote, remote_port, ..record.flow }).1)
}

fn answered(record: &ResetRecord) -> Option<Answered> {
    if record.flags & flags::SKB == 0 {
        return None;
    }
    let segment = &record.segment;
    Some(Answered {
        syn: segment.flags & tcp_flag::SYN != 0,
        ack: segment.flags & tcp_flag::ACK != 0,
        fin: segment.flags & tcp_flag::FIN != 0,
        payload: segment.payload,
        handshake: record.flags & flags::HANDSHAKE != 0,
    })
}

/// Whether the segment lies beyond the RST that ended the connection. An RST that a firewall on the peer's host may have
/// sent does not count: one with the shape of a reject and with the peer's TTL.
fn resumed(record: &ResetRecord) -> bool {
    let rst = &record.conn.rst.segment;
    let ended_by_rst = record.flags & flags::TOMBSTONE != 0 && rst.present & present::SEGMENT != 0;
    let from_peers_host = rst.ttl == record.segment.ttl && forgery::is_reject_shaped(rst);
    ended_by_rst && !from_peers_host && forgery::is_beyond(&record.segment, rst)
}

/// Whether no payload went either way.
fn unused(record: &ResetRecord) -> bool {
    let closed = &record.conn.closed;
    if record.flags & flags::TOMBSTONE != 0 {
        closed.time_ns != 0 && closed.bytes_sent == 0 && closed.bytes_received == 0
    } else {
        record.flags & flags::TCP != 0 && record.tcp.data_segs_out == 0 && record.tcp.data_segs_in == 0
    }
}

/// Whether this end opened the connection; `None` if that was not seen.
fn opened(conn: &ConnState) -> Option<bool> {
    match conn.role {
        role::CLIENT if conn.established_ns != 0 => Some(true),
        role::CLIENT | role::UNKNOWN => None,
        _ => Some(false),
    }
}

/// The silence before the bytes that were left unread. Known only if they came in one segment after our last payload:
/// each earlier segment of the peer's had been answered.
fn silence_before_unread(record: &ResetRecord, context: &Context) -> Option<Duration> {
    let (tcp, conn) = (&record.tcp, &record.conn);
    let (ins, outs) = (tcp.data_segs_in, tcp.data_segs_out);
    let one_more = outs > 0 && (ins == outs || ins == outs.saturating_add(1));
    let unread = record.flags & flags::TCP != 0 && facts::unread_at_abort(conn) > 0;
    let (sent, received) = (conn.closing.sent_age, conn.closing.received_age);
    (unread && one_more && received < sent).then(|| context.jiffies(sent - received)).flatten()
}

/// How long before the reset the conntrack table was last full.
fn conntrack_full(record: &ResetRecord) -> Option<Duration> {
    facts::since(record, record.conntrack_full_ns)
}

/// How long the peer has been silent.
fn peer_silence(record: &ResetRecord, context: &Context) -> Duration {
    let since_close = facts::since(record, record.conn.closed.time_ns).unwrap_or_default();
    let live = idle::shortest(context.jiffies(record.tcp.received_age), context.jiffies(record.tcp.ack_age));
    let closed = context.jiffies(record.conn.closing.received_age).unwrap_or_default() + since_close;
    if record.flags & flags::TOMBSTONE != 0 { closed } else { live.unwrap_or_default() }
}

fn socket_class(class: u8) -> SocketClass {
    match class {
        sk_class::NONE => SocketClass::NoSocket,
        sk_class::LISTEN => SocketClass::Listener,
        sk_class::TIME_WAIT => SocketClass::TimeWait,
        _ => SocketClass::Connection,
    }
}

pub(super) fn firewall(record: &ResetRecord) -> Firewall {
    Firewall {
        syn: record.segment.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN,
        inferred: record.flags & flags::INFERRED != 0,
        conntrack_full: conntrack_full(record).filter(|full| *full <= MAX_FULL_BEFORE_REJECT),
    }
}
