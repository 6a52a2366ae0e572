//! Resets that a device on the path sends in the peer's name.

use rstwatch_common::record::{ResetRecord, flags, kind, present, tcp_flag};

use super::ends::Scene;
use crate::cause::Cause::{self, FirewallReject, MiddleboxIdle, MiddleboxInjected};
use crate::cause::Sender::{self, LocalFirewall, LocalKernel, Middlebox, Peer};
use crate::testing::fixture::{self, jiffies};

/// How a device's RST differs from one that the peer could have sent: changes the record of the latter.
type Forge = fn(&mut ResetRecord);

const FORGERIES: &[(&str, Forge)] = &[
    ("an imitation", |_| {}),
    ("a TTL that no hop decremented", |it| it.segment.ttl = 64),
    ("an odd TTL", |it| it.segment.ttl = 200),
    ("an odd TTL and the peer's clock", |it| {
        it.segment.ttl = 200;
        it.segment.tsval = it.tcp.ts_recent + 90;
    }),
    ("no timestamp", |it| it.segment.present &= !present::TIMESTAMPS),
    ("an impossible acknowledgement", |it| it.segment.ack = 0x7000_0000),
    ("a bare RST", bare),
    ("a bare RST with an odd TTL", |it| {
        bare(it);
        it.segment.ttl = 200;
    }),
    ("payload", |it| it.segment.payload = 12),
];

fn bare(it: &mut ResetRecord) {
    it.segment.flags = tcp_flag::RST;
    it.segment.present &= !present::TIMESTAMPS;
    it.segment.window = 0;
}

pub(super) fn scenes() -> Vec<Scene> {
    let forged = FORGERIES.iter().flat_map(|(what, forge)| [(what, forge, 100), (what, forge, 60_000)]);
    let mut scenes: Vec<_> = forged.flat_map(|(what, forge, quiet)| one_end(what, *forge, quiet)).collect();
    for (what, forge) in FORGERIES {
        scenes.extend([100, 60_000].map(|quiet| idle_end(what, *forge, quiet)));
    }
    for flags in [tcp_flag::RST | tcp_flag::ACK, tcp_flag::RST] {
        scenes.extend(both_ends(flags));
    }
    scenes.extend(rejected());
    scenes
}

fn scene(name: String, truth: Cause, senders: &'static [Sender], records: &[ResetRecord], judged: usize) -> Scene {
    Scene { name, truths: vec![truth], senders, records: records.to_vec(), judged }
}

/// The client is reset; the server sends on, the client's stack answers, and the server receives the answer.
fn one_end(what: &str, forge: Forge, quiet_ms: u32) -> Vec<Scene> {
    let mut client = quiet(fixture::received(), quiet_ms);
    forge(&mut client);
    client.flags |= flags::OTHER_END_ALIVE;
    let mut answer = fixture::sent_answer();
    answer.time_ns += 10_000;
    answer.flags |= flags::TOMBSTONE;
    answer.conn = client.conn;
    answer.conn.closed.time_ns = client.time_ns;
    answer.conn.reset.time_ns = client.time_ns;
    answer.conn.rst.segment = client.segment;
    (answer.segment.seq, answer.segment.ack, answer.segment.payload) = (5000, 900, 100);
    let mut server = quiet(fixture::received(), quiet_ms);
    server.time_ns += 20_000;
    server.flow = client.flow.reversed();
    server.netns += 1;
    server.conn.role = rstwatch_common::record::role::SERVER;
    bare(&mut server);
    (server.segment.seq, server.tcp.rcv_nxt, server.tcp.copied_seq) = (900, 900, 900);
    (server.tcp.snd_una, server.tcp.snd_nxt, server.tcp.write_seq) = (5000, 5100, 5100);
    (server.tcp.sent_age, server.tcp.rtx_age_ns) = (0, 20_000);
    let records = [client, answer, server];
    let truth = if quiet_ms < 1000 { MiddleboxInjected } else { MiddleboxIdle };
    let all: [(&str, &[Sender]); 3] =
        [("reset", &[Middlebox]), ("its stack's answer", &[LocalKernel]), ("the other end", &[Peer])];
    let named = |(index, (end, senders)): (usize, (&str, &'static [Sender]))| {
        scene(format!("{what}, {quiet_ms} ms, {end}"), truth, senders, &records, index)
    };
    all.into_iter().enumerate().map(named).collect()
}

/// The client is reset; the server sends nothing.
fn idle_end(what: &str, forge: Forge, quiet_ms: u32) -> Scene {
    let mut client = quiet(fixture::received(), quiet_ms);
    forge(&mut client);
    client.flags |= flags::OTHER_END_ALIVE;
    let truth = if quiet_ms < 1000 { MiddleboxInjected } else { MiddleboxIdle };
    scene(format!("{what}, {quiet_ms} ms, the other end alive"), truth, &[Middlebox], &[client], 0)
}

fn quiet(mut record: ResetRecord, ms: u32) -> ResetRecord {
    (record.tcp.sent_age, record.tcp.received_age, record.tcp.ack_age) = (jiffies(ms), jiffies(ms), jiffies(ms));
    record
}

/// Both ends accept an RST that looks like the other's.
fn both_ends(tcp_flags: u8) -> Vec<Scene> {
    let mut client = fixture::received();
    client.segment.flags = tcp_flags;
    client.flags |= flags::OTHER_END_ALIVE;
    let mut server = client;
    server.time_ns += 1000;
    server.flow = client.flow.reversed();
    server.netns += 1;
    (server.tcp.snd_una, server.tcp.snd_nxt, server.tcp.write_seq) = (5000, 5000, 5000);
    (server.tcp.rcv_nxt, server.tcp.copied_seq, server.segment.seq, server.segment.ack) = (900, 900, 900, 5000);
    server.flags &= !flags::OTHER_END_ALIVE;
    let shape = if tcp_flags & tcp_flag::ACK == 0 { "bare" } else { "with ACK" };
    let at = |index, end: &str| {
        scene(format!("both ends, {shape}, {end}"), MiddleboxInjected, &[Middlebox], &[client, server], index)
    };
    vec![at(0, "client"), at(1, "server")]
}

/// A router rejects the client's segment.
fn rejected() -> Vec<Scene> {
    let mut client = fixture::received();
    bare(&mut client);
    client.segment.ttl = 64;
    (client.tcp.snd_nxt, client.tcp.write_seq) = (910, 910);
    (client.tcp.sent_age, client.tcp.rtx_age_ns) = (0, 1_000_000);
    let mut reject = fixture::sent_answer();
    (reject.kind, reject.flow, reject.netns) = (kind::FIREWALL, client.flow.reversed(), client.netns + 1);
    (reject.segment.seq, reject.segment.ack) = (900, 5000);
    let inferred = ResetRecord { flags: reject.flags | flags::INFERRED, ..reject };
    let there: &[Sender] = &[LocalFirewall, Middlebox];
    vec![
        scene("a router's reject".into(), FirewallReject, there, &[reject, client], 1),
        scene("a router's reject, inferred".into(), FirewallReject, there, &[inferred, client], 1),
    ]
}
