//! Golden cases: for each rule a record that it decides. Evidence and table are tested together, as they run.

use rstwatch_common::record::{PF_EXITING, ResetRecord, flags, kind, mark, role, sk_class, state, tcp_flag};

use super::{RULES, classify};
use crate::evidence::{self, Evidence};
use crate::fixture::{self, NOW_NS, jiffies, reason};

type Case = (&'static str, fn() -> ResetRecord);

const SECOND: u64 = 1_000_000_000;

fn active(why: &str, socket_state: u8) -> ResetRecord {
    let mut record = fixture::sent_active();
    record.reason = reason(why);
    record.state = socket_state;
    record.memory.reset_reason = record.reason;
    record.memory.reset_state = socket_state;
    record
}

/// An owner's abort: the state is CLOSE when it is traced.
fn own_abort(why: &str) -> ResetRecord {
    active(why, state::CLOSE)
}

fn exiting(mut record: ResetRecord, exit_code: u32) -> ResetRecord {
    record.memory.owner.flags = PF_EXITING;
    record.memory.owner.exit_code = exit_code;
    record
}

fn marked(mut record: ResetRecord, marks: u32) -> ResetRecord {
    record.memory.marks |= marks;
    record
}

/// An answer to data of a connection that is remembered, closed here 200 ms ago.
fn late(idle_ms: u32) -> ResetRecord {
    let mut record = fixture::sent_answer();
    record.flags |= flags::TOMBSTONE;
    record.memory = fixture::record().memory;
    record.memory.role = role::SERVER;
    record.memory.marks = mark::CLOSED_BY_OWNER;
    record.memory.closing_ns = NOW_NS - SECOND / 5;
    record.memory.closed_ns = record.memory.closing_ns;
    record.memory.closing_sent = jiffies(idle_ms);
    record.memory.closing_received = jiffies(idle_ms);
    record
}

/// The same, of a connection that was aborted.
fn late_abort(why: &str, marks: u32, reset_state: u8) -> ResetRecord {
    let mut record = late(0);
    record.memory.marks = mark::ABORTED | marks;
    record.memory.reset_reason = reason(why);
    record.memory.reset_state = reset_state;
    record
}

fn answer_from(class: u8, why: &str, tcp_flags: u8) -> ResetRecord {
    let mut record = fixture::sent_answer();
    record.sk_class = class;
    record.reason = reason(why);
    record.segment.flags = tcp_flags;
    if class == sk_class::LISTEN {
        record.flags |= flags::MEMORY | flags::TCP;
        record.memory.role = role::LISTENER;
    }
    record
}

fn connecting() -> ResetRecord {
    let mut record = fixture::received();
    record.state = state::SYN_SENT;
    record
}

/// A bare RST that answers 10 bytes of ours.
fn bare() -> ResetRecord {
    let mut record = fixture::received();
    record.segment.flags = tcp_flag::RST;
    record.segment.present &= !rstwatch_common::record::present::TIMESTAMPS;
    record.segment.window = 0;
    record.tcp.snd_nxt += 10;
    record.tcp.write_seq += 10;
    record.tcp.sent_age = 0;
    record.tcp.rtx_age_ns = SECOND / 1000;
    record
}

fn after_silence(mut record: ResetRecord, ms: u32) -> ResetRecord {
    record.tcp.received_age = jiffies(ms);
    record.tcp.ack_age = jiffies(ms);
    if record.tcp.snd_una == record.tcp.write_seq {
        record.tcp.sent_age = jiffies(ms);
    }
    record
}

fn from_next_door(mut record: ResetRecord) -> ResetRecord {
    record.segment.ttl = 64;
    record
}

fn after_fin(mut record: ResetRecord, idle_ms: u32) -> ResetRecord {
    record.state = state::CLOSE_WAIT;
    record.memory.fin_ns = NOW_NS - SECOND / 5;
    record.memory.fin_sent = jiffies(idle_ms);
    record.memory.fin_received = jiffies(idle_ms);
    record
}

const CASES: &[Case] = &[
    ("firewall", || {
        let mut record = fixture::sent_answer();
        record.kind = kind::FIREWALL;
        record
    }),
    ("firewall_inferred", || {
        let mut record = fixture::sent_answer();
        record.kind = kind::FIREWALL;
        record.flags |= flags::INFERRED;
        record
    }),
    ("refused", || answer_from(sk_class::NONE, "NO_SOCKET", tcp_flag::SYN)),
    ("queue_full", || {
        let mut record = answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::ACK);
        record.tcp.ack_backlog = 5;
        record.tcp.max_ack_backlog = 4;
        record
    }),
    ("child_failed", || answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::ACK)),
    ("bad_syn", || answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::SYN)),
    ("bad_syn", || {
        let mut record = answer_from(sk_class::FULL, "TCP_INVALID_ACK_SEQUENCE", tcp_flag::SYN | tcp_flag::ACK);
        record.state = state::SYN_SENT;
        record
    }),
    ("stray_syn_ack", || answer_from(sk_class::NONE, "NO_SOCKET", tcp_flag::SYN | tcp_flag::ACK)),
    ("mptcp", || active("MPTCP_RST_EMPTCP", state::ESTABLISHED)),
    ("out_of_memory", || own_abort("TCP_ABORT_ON_MEMORY")),
    ("keepalive", || active("TCP_KEEPALIVE_TIMEOUT", state::ESTABLISHED)),
    ("fin_wait_expired", || marked(active("TCP_STATE", state::FIN_WAIT2), mark::UNACCEPTED)),
    ("fin_wait_expired", || marked(active("TCP_STATE", state::FIN_WAIT2), mark::CLOSED_BY_OWNER)),
    ("destroyed", || active("TCP_STATE", state::ESTABLISHED)),
    ("killed", || exiting(own_abort("TCP_ABORT_ON_CLOSE"), 9)),
    ("killed", || exiting(own_abort("TCP_ABORT_ON_CLOSE"), 1 << 8)),
    // Killed with unaccepted connections: the kill explains the close.
    ("killed", || exiting(marked(own_abort("TCP_STATE"), mark::UNACCEPTED), 15)),
    ("exited", || exiting(own_abort("TCP_ABORT_ON_CLOSE"), 0)),
    ("unread_on_close", || own_abort("TCP_ABORT_ON_CLOSE")),
    // A process for each connection: its exit is its close.
    ("unread_on_close", || {
        let mut record = exiting(own_abort("TCP_ABORT_ON_CLOSE"), 0);
        record.memory.role = role::SERVER;
        record.memory.owner.start_ns = record.memory.established_ns + 1;
        record
    }),
    ("never_accepted", || marked(own_abort("TCP_STATE"), mark::UNACCEPTED)),
    ("never_accepted", || exiting(marked(own_abort("TCP_STATE"), mark::UNACCEPTED), 0)),
    ("linger_zero", || marked(own_abort("TCP_STATE"), mark::LINGER0)),
    ("linger_zero", || own_abort("TCP_ABORT_ON_LINGER")),
    ("disconnected", || own_abort("TCP_STATE")),
    ("disconnected", || own_abort("TCP_DISCONNECT_WITH_DATA")),
    ("late_overflow", || marked(late(0), mark::OVERFLOWED)),
    ("late_killed", || exiting(late(60_000), 9)),
    ("late_exited", || exiting(late(0), 0)),
    ("late_unread", || late_abort("TCP_ABORT_ON_CLOSE", 0, state::CLOSE)),
    ("late_never_accepted", || late_abort("TCP_STATE", mark::UNACCEPTED, state::CLOSE)),
    ("late_linger", || late_abort("TCP_STATE", mark::LINGER0, state::CLOSE)),
    ("late_keepalive", || late_abort("TCP_KEEPALIVE_TIMEOUT", 0, state::ESTABLISHED)),
    ("late_destroyed", || late_abort("TCP_STATE", 0, state::ESTABLISHED)),
    ("closed_when_idle", || late(60_000)),
    // A process for each connection that ends on an idle timer reaps, it does not crash.
    ("closed_when_idle", || {
        let mut record = exiting(late(60_000), 0);
        record.memory.owner.start_ns = record.memory.established_ns + 1;
        record
    }),
    // TLS says close_notify before an idle close.
    ("closed_with_goodbye", || {
        let mut record = late(60_000);
        record.memory.closing_sent = 0;
        record.memory.closing_outstanding = 24;
        record
    }),
    // The client's request and the answer before it bear the same time.
    ("gave_up_or_closed", || {
        let mut record = late(5_000);
        record.memory.role = role::CLIENT;
        record.memory.bytes_sent = 100;
        record.memory.bytes_received = 100;
        record
    }),
    // Its first request, never answered.
    ("closed_then_data", || {
        let mut record = late(5_000);
        record.memory.role = role::CLIENT;
        record.memory.bytes_sent = 100;
        record
    }),
    ("closed_then_data", || late(10)),
    // A client that gives up on a slow answer: the request was open, nothing was idle.
    ("closed_then_data", || {
        let mut record = late(5_000);
        record.memory.role = role::CLIENT;
        record.memory.bytes_sent = 100;
        record.memory.bytes_received = 100;
        record.memory.closing_received = jiffies(5_004);
        record
    }),
    // A server that closes instead of answering.
    ("closed_then_data", || {
        let mut record = late(60_000);
        record.memory.closing_received = jiffies(59_000);
        record
    }),
    // Stuck with data to deliver.
    ("closed_then_data", || {
        let mut record = late(60_000);
        record.memory.closing_outstanding = 4000;
        record
    }),
    ("half_closed_then_data", || marked(late(60_000), mark::HALF_CLOSED)),
    ("late_timed_out", || {
        let mut record = late(60_000);
        record.memory.marks = 0;
        record
    }),
    ("late_out_of_memory", || late_abort("TCP_ABORT_ON_MEMORY", 0, state::CLOSE)),
    ("late_disconnected", || late_abort("TCP_STATE", 0, state::CLOSE)),
    // A farewell of MySQL's.
    ("closed_with_goodbye", || {
        let mut record = late(60_000);
        record.memory.closing_sent = 0;
        record.memory.closing_outstanding = 155;
        record
    }),
    // A client's close_notify before it goes: the server's answer finds nobody. Not sure to be one.
    ("gave_up_or_closed", || {
        let mut record = late(90_000);
        record.memory.role = role::CLIENT;
        record.memory.bytes_sent = 100;
        record.memory.bytes_received = 100;
        record.memory.closing_sent = 0;
        record
    }),
    // Our side had closed before the agent came.
    ("data_after_close", || {
        let mut record = late(0);
        record.sk_class = sk_class::TIME_WAIT;
        record.memory.marks = 0;
        record.memory.closing_ns = 0;
        record.memory.old_state = state::FIN_WAIT2;
        record
    }),
    // The abort's RST was lost; what comes minutes later was not under way then.
    ("unknown_here", || {
        let mut record = late_abort("TCP_STATE", mark::LINGER0, state::CLOSE);
        record.memory.closing_ns = NOW_NS - 60 * SECOND;
        record
    }),
    ("data_after_close", || answer_from(sk_class::TIME_WAIT, "TCP_TIMEWAIT_SOCKET", tcp_flag::ACK)),
    ("unknown_here", fixture::sent_answer),
    ("unknown_here", || answer_from(sk_class::LISTEN, "TCP_FLAGS", tcp_flag::ACK)),
    // Nothing but a FIN: both sides had closed, nobody was harmed.
    ("tail", || {
        let mut record = late(60_000);
        record.segment.payload = 0;
        record
    }),
    // An RST in the peer's name ended it, and the peer knows nothing of that.
    ("tail", || {
        let mut record = late(0);
        record.memory.marks = 0;
        record.memory.reset_ns = NOW_NS - SECOND;
        record
    }),
    ("refused_nearby", || from_next_door(connecting())),
    ("connect_refused", connecting),
    ("path_dropped_state", || from_next_door(after_silence(bare(), 60_000))),
    ("path_rejected", || from_next_door(bare())),
    ("path_injected", || {
        let mut record = bare();
        record.segment.ttl = 200;
        record.tcp.snd_una = record.tcp.write_seq;
        record.tcp.rtx_age_ns = 0;
        record
    }),
    ("path_doubtful", || {
        let mut record = fixture::received();
        record.segment.ttl = 55;
        record.segment.present &= !rstwatch_common::record::present::TIMESTAMPS;
        record
    }),
    ("reused_after_fin", || after_fin(bare(), 60_000)),
    ("wrote_after_fin", || after_fin(bare(), 0)),
    ("half_closed_unread", || {
        let mut record = after_fin(fixture::received(), 0);
        record.tcp.sent_age = 0;
        record
    }),
    ("fin_met_nothing", || {
        let mut record = after_fin(bare(), 60_000);
        record.state = state::LAST_ACK;
        record.tcp.shutdown = 3;
        record.tcp.snd_nxt = record.tcp.snd_una + 1;
        record.tcp.write_seq = record.tcp.snd_una + 1;
        record
    }),
    // TLS: close_notify came with the FIN and lies unread.
    ("reused_after_fin", || {
        let mut record = after_fin(bare(), 60_000);
        record.memory.fin_received = 0;
        record.memory.fin_unread = 25;
        record
    }),
    // A stream that only the peer spoke on, to its last moment: the FIN is no goodbye.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 60_000);
        record.memory.fin_received = 0;
        record.memory.fin_unread = 1;
        record
    }),
    // The peer closed instead of answering.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 5_000);
        record.memory.fin_received = jiffies(5_004);
        record
    }),
    // The FIN came before the agent did.
    ("fin_met_nothing", || {
        let mut record = bare();
        record.state = state::LAST_ACK;
        record.tcp.shutdown = 3;
        record.tcp.write_seq = record.tcp.snd_una + 1;
        record
    }),
    ("mptcp_fastclose", || active("TCP_ABORT_ON_CLOSE", state::ESTABLISHED)),
    ("peer_gave_up_probing", || {
        let mut record = after_silence(fixture::received(), 25_000);
        record.tcp.oow_age = jiffies(2000);
        record
    }),
    ("peer_never_spoke", || {
        let mut record = fixture::received();
        record.tcp.data_segs_in = 0;
        record
    }),
    // A server's answer bears the time of the request: it is the later of the two. Health checks end so.
    ("peer_left_answer", || {
        let mut record = fixture::received();
        record.memory.role = role::SERVER;
        record.tcp.sent_age = record.tcp.received_age;
        record
    }),
    // A late answer to a client that gave up.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 5_000);
        record.memory.role = role::SERVER;
        record
    }),
    ("peer_left_unread", || {
        let mut record = fixture::received();
        record.tcp.write_seq += 100;
        record.tcp.snd_nxt += 100;
        record
    }),
    ("peer_left_unread", || {
        let mut record = fixture::received();
        record.tcp.sent_age = jiffies(20);
        record
    }),
    // A log shipper: sends, is acknowledged, falls silent. Nothing is ever answered.
    ("peer_reaped_idle", || {
        let mut record = after_silence(fixture::received(), 240_000);
        record.tcp.received_age = jiffies(300_000);
        record
    }),
    ("peer_left_unread_long", || {
        let mut record = after_silence(fixture::received(), 47_000);
        record.tcp.received_age = jiffies(300_000);
        record
    }),
    ("peer_reaped_idle", || after_silence(fixture::received(), 60_200)),
    ("peer_silent", || {
        let mut record = fixture::received();
        record.tcp.data_segs_in = 0;
        record.tcp.data_segs_out = 0;
        record
    }),
    ("peer_aborted", fixture::received),
    // Idle for a while that no well-known timeout has: no timer is invented.
    ("peer_aborted", || after_silence(fixture::received(), 47_000)),
    ("handshake_only", || {
        let mut record = bare();
        record.tcp.data_segs_in = 0;
        record.memory.established_ns = NOW_NS - SECOND;
        record
    }),
    ("reused_idle", || after_silence(bare(), 60_000)),
    ("forgotten", bare),
    // Initial TTL changed, path did not; one hop more or less: still the peer.
    ("forgotten", || {
        let mut record = bare();
        record.segment.ttl = 127;
        record
    }),
    ("forgotten", || {
        let mut record = bare();
        record.segment.ttl = 62;
        record
    }),
    // A reason that this version does not know says something, but not what.
    ("undecided", || active("OF_THE_FUTURE", state::ESTABLISHED)),
    // No header, no guess.
    ("undecided", || {
        let mut record = fixture::received();
        record.segment.present = 0;
        record
    }),
];

fn evidence_of(record: &ResetRecord) -> Evidence {
    evidence::of_record(record, &fixture::context())
}

#[test]
fn each_case_is_decided_by_its_rule() {
    for (index, (rule, record)) in CASES.iter().enumerate() {
        let evidence = evidence_of(&record());
        assert_eq!(classify(&evidence).rule, *rule, "case {index}: {evidence:#?}");
    }
}

#[test]
fn every_rule_decides_a_case() {
    for rule in RULES {
        assert!(CASES.iter().any(|(id, _)| *id == rule.id), "no case for {}", rule.id);
    }
}

#[test]
fn rules_have_names_of_their_own() {
    let mut ids: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), RULES.len());
}

#[test]
fn every_sentence_says_something() {
    for (rule, record) in CASES {
        let because = classify(&evidence_of(&record())).because;
        assert!(because.len() > 10 && because == because.trim(), "{rule}: {because:?}");
    }
}

/// What the kernel did not say, and only one end saw, is never certain.
#[test]
fn nothing_received_alone_is_certain() {
    for (rule, record) in CASES {
        let evidence = evidence_of(&record());
        if matches!(evidence, Evidence::Received(_)) {
            assert_ne!(classify(&evidence).confidence, crate::cause::Confidence::Certain, "{rule}");
        }
    }
}

/// Where the kernel gave no reason, its fields tell, and are believed less.
#[test]
fn what_the_kernel_did_not_say_is_not_certain() {
    use crate::cause::{Cause, Confidence};
    for (reset, cause) in [
        (own_abort("NOT_SPECIFIED"), Cause::LingerAbort),
        (active("NOT_SPECIFIED", state::ESTABLISHED), Cause::AdminAbort),
    ] {
        let verdict = classify(&evidence_of(&reset));
        assert_eq!((verdict.cause, verdict.confidence), (cause, Confidence::Likely), "{}", verdict.rule);
    }
}

/// Each end by itself says idle_reaped, so together they are certain.
#[test]
fn ends_that_agree_are_certain() {
    use crate::cause::{Cause, Confidence, Sender};
    use crate::evidence::SenderSaw;
    let mut evidence = evidence_of(&after_fin(bare(), 60_000));
    if let Evidence::Received(received) = &mut evidence {
        let (cause, sender) = (Cause::IdleReaped, Sender::LocalKernel);
        let confidence = Confidence::Likely;
        received.sender_saw = Some(SenderSaw { cause, sender, confidence, because: "x".into() });
    }
    assert_eq!(classify(&evidence).confidence, Confidence::Certain);
}

#[test]
fn the_sending_end_decides() {
    use crate::cause::{Cause, Confidence, Sender};
    use crate::evidence::SenderSaw;
    let cases = [
        (Cause::UnreadData, Sender::LocalApp, Sender::Peer, Confidence::Certain),
        (Cause::FirewallReject, Sender::LocalFirewall, Sender::LocalFirewall, Confidence::Likely),
        (Cause::Unknown, Sender::LocalKernel, Sender::Peer, Confidence::Likely),
    ];
    for (cause, sender, seen_as, confidence) in cases {
        let mut evidence = evidence_of(&fixture::received());
        if let Evidence::Received(received) = &mut evidence {
            received.sender_saw = Some(SenderSaw { cause, sender, confidence, because: "x".into() });
        }
        let verdict = classify(&evidence);
        assert_eq!((verdict.cause, verdict.sender, verdict.confidence), (cause, seen_as, confidence));
    }
}
