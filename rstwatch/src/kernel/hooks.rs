//! The hooks, each declared once. Loading, `rstwatch check`, the metrics, the log and docs/hooks.md read this table.
//!
//! A new hook needs its file in `rstwatch-ebpf/src/hooks`, an entry here, and the fields that it reads in
//! `rstwatch-common/src/layout.rs`.

use rstwatch_common::settings::infer;

use super::features::{DROP_REASONS, OVERFLOW_DROP_REASON, PACKET_OF_RESET, RESET_REASONS, TYPED_HELPERS};
use super::hook::{Counts, Fallback, Hook, Program, Stage, When};
use rstwatch_verdict::cause::Direction;

/// The iterator over tasks.
pub(super) const TASKS_HOOK: &str = "task";

/// The iterator that names the owners of older sockets.
pub(super) const SEED_HOOK: &str = "task_file";

/// The iterator that samples connections.
pub const SAMPLER_HOOK: &str = "task_file_looks";

/// The iterator over listeners.
pub(super) const LISTENERS_HOOK: &str = "bpf_map_elem";

/// The iterator over listeners that tasks hold open.
pub(super) const HELD_LISTENERS_HOOK: &str = "task_file_listeners";

/// Hooks on a full accept queue. Only all three together see every overflow.
pub(super) const OVERFLOW_HOOKS: [&str; 3] = ["tcp_conn_request", "tcp_v4_syn_recv_sock", "tcp_v6_syn_recv_sock"];

/// Hooks on RSTs that netfilter sends.
pub(super) const REJECT_HOOKS: [&str; 2] = ["nf_send_reset", "nf_send_reset6"];

/// Hooks on answers to segments. Before Linux 6.10 only they see those of no connection's socket.
pub(super) const ANSWER_HOOKS: [&str; 2] = ["tcp_v4_send_reset", "tcp_v6_send_reset"];

/// The hook on conntrack evictions.
pub(super) const EVICTION_HOOK: &str = "early_drop";

/// The packet program, which takes `CAP_NET_ADMIN` to attach.
pub(super) const PACKET_HOOK: &str = "cgroup_skb";

const OVERFLOWS_LOST: &str = "accept-queue overflow as a cause: the later reset looks like a restart";
const REPEATS_LOST: &str = "repeated RSTs, one sign of forgery";
const UNTRACED_LOST: &str =
    "resets sent without a socket or from TIME_WAIT: no tracepoint reports them, so counts and verdicts omit them";

/// Every hook, in the order in which they are attached.
pub const HOOKS: &[Hook] = &[
    Hook {
        name: TASKS_HOOK,
        source: "tasks.rs",
        stage: Stage::Context,
        programs: &[Program::Iterate { name: "tasks", over: "task", map: None }],
        evidence: "a task in each network namespace, through which its counters are read",
        lost: "counters of other network namespaces",
        ..Hook::DEFAULT
    },
    Hook {
        name: "tcp_reset",
        source: "tcp_reset.rs",
        needs: &[&PACKET_OF_RESET],
        programs: &[Program::Fentry("tcp_reset")],
        evidence: "the header of an accepted RST",
        lost: "TTL and shape of received RSTs: no verdicts on middleboxes",
        fallback: by_packets(None),
        ..Hook::DEFAULT
    },
    Hook {
        name: "tcp_finish_connect",
        source: "finish_connect.rs",
        when: When::With("tcp_reset"),
        programs: &[Program::Fentry("tcp_finish_connect")],
        evidence: "the TTL of a SYN-ACK",
        lost: "the TTL of peers that this host connected to",
        ..Hook::DEFAULT
    },
    Hook {
        name: PACKET_HOOK,
        source: "ingress.rs",
        when: When::WithoutAnyOf(&["tcp_reset"]),
        programs: &[Program::CgroupIngress("ingress")],
        evidence: "headers of RST, SYN and SYN-ACK segments, at the cost of a few instructions per packet",
        lost: "TTL and shape of received RSTs: no verdicts on middleboxes",
        ..Hook::DEFAULT
    },
    Hook {
        name: "tcp_conn_request",
        source: "conn_request.rs",
        programs: &[Program::Fentry("tcp_conn_request")],
        evidence: "sequence numbers of SYNs, and SYNs that meet a full accept queue",
        lost: "exact overflows of each listener; a bad ACK in a handshake looks like an unknown connection",
        fallback: by_packets(Some("exact overflows of each listener (estimated from its drops)")),
        ..Hook::DEFAULT
    },
    Hook {
        name: "tcp_send_challenge_ack",
        source: "challenge_ack.rs",
        // The packet program sees the RSTs that draw challenge ACKs.
        when: When::WithoutAnyOf(&[PACKET_HOOK]),
        programs: &[Program::Fentry("tcp_send_challenge_ack")],
        evidence: "challenge ACKs: answers to RSTs that were not accepted",
        lost: "challenge ACKs, one sign of forgery",
        ..Hook::DEFAULT
    },
    Hook {
        name: "nf_send_reset",
        programs: &[Program::Fentry("nf_send_reset"), Program::Kprobe("k_nf_reset")],
        fallback: by_drops(REJECTS_LOST, infer::REJECTS_V4, &[]),
        ..REJECT
    },
    Hook {
        name: "nf_send_reset6",
        programs: &[Program::Fentry("nf_send_reset6"), Program::Kprobe("k_nf_reset6")],
        fallback: by_drops(REJECTS_LOST, infer::REJECTS_V6, &[]),
        ..REJECT
    },
    Hook {
        name: "tcp_v4_syn_recv_sock",
        programs: &[Program::Fentry("tcp_v4_syn_recv_sock"), Program::Kprobe("k_v4_syn_recv")],
        ..LAST_ACK
    },
    Hook {
        name: "tcp_v6_syn_recv_sock",
        programs: &[Program::Fentry("tcp_v6_syn_recv_sock"), Program::Kprobe("k_v6_syn_recv")],
        ..LAST_ACK
    },
    Hook {
        name: "kfree_skb",
        source: "kfree_skb.rs",
        when: When::WithoutAnyOf(&["nf_send_reset", "nf_send_reset6", "tcp_v4_syn_recv_sock", "tcp_v6_syn_recv_sock"]),
        needs: &[&DROP_REASONS],
        programs: &[Program::Tracepoint("kfree_skb")],
        evidence: "segments that netfilter or a full accept queue dropped",
        lost: "firewall rejects and accept-queue overflows, inferred from drops",
        ..Hook::DEFAULT
    },
    Hook {
        name: EVICTION_HOOK,
        source: "early_drop.rs",
        programs: &[Program::Fentry("early_drop"), Program::Kprobe("k_early_drop")],
        evidence: "when the conntrack table was full",
        lost: "verdicts on a full conntrack table (the agent still finds it full in /proc, up to a second later)",
        ..Hook::DEFAULT
    },
    Hook {
        name: "inet_sock_set_state",
        source: "set_state.rs",
        stage: Stage::Count,
        programs: &[Program::Tracepoint("inet_sock_set_state")],
        evidence: "a socket's owner, state changes, times and bytes",
        lost: "owners, idle times and causes of resets after a close",
        ..Hook::DEFAULT
    },
    Hook {
        name: "tcp_receive_reset",
        source: "receive_reset.rs",
        stage: Stage::Count,
        programs: &[Program::Tracepoint("tcp_receive_reset")],
        evidence: "received resets",
        lost: "received resets",
        counts: Counts::All(Direction::Received),
        ..Hook::DEFAULT
    },
    Hook {
        name: "tcp_send_reset",
        source: "send_reset.rs",
        stage: Stage::Count,
        programs: &[Program::Tracepoint("tcp_send_reset")],
        evidence: "sent resets",
        lost: "sent resets",
        counts: Counts::All(Direction::Sent),
        ..Hook::DEFAULT
    },
    Hook {
        name: "tcp_v4_send_reset",
        programs: &[Program::Fentry("tcp_v4_send_reset"), Program::Kprobe("k_v4_send_reset")],
        ..ANSWER
    },
    Hook {
        name: "tcp_v6_send_reset",
        programs: &[Program::Fentry("tcp_v6_send_reset"), Program::Kprobe("k_v6_send_reset")],
        ..ANSWER
    },
    Hook {
        name: SEED_HOOK,
        source: "seed.rs",
        stage: Stage::Complete,
        programs: &[Program::Iterate { name: "seed", over: "task_file", map: None }],
        evidence: "owners of sockets opened before rstwatch started",
        lost: "owners of connections opened before rstwatch started",
        ..Hook::DEFAULT
    },
    Hook {
        name: SAMPLER_HOOK,
        source: "sample.rs",
        stage: Stage::Complete,
        needs: &[&TYPED_HELPERS],
        programs: &[Program::Iterate { name: "sample", over: "task_file", map: None }],
        evidence: "idle gaps that connections survived, and closing messages",
        lost: "idle gaps that connections survived: timeouts have no lower bound",
        ..Hook::DEFAULT
    },
    Hook {
        name: LISTENERS_HOOK,
        source: "listeners.rs",
        stage: Stage::Complete,
        programs: &[Program::Iterate { name: "listeners", over: "bpf_map_elem", map: Some("LISTENERS") }],
        evidence: "accept queues of all network namespaces",
        lost: QUEUES_LOST,
        fallback: Some(Fallback {
            hook: HELD_LISTENERS_HOOK,
            needs: &[],
            lost: Some("accept queues of listeners that no task in this PID namespace holds open"),
            infer: 0,
        }),
        ..Hook::DEFAULT
    },
    Hook {
        name: HELD_LISTENERS_HOOK,
        source: "held_listeners.rs",
        stage: Stage::Complete,
        when: When::WithoutAnyOf(&[LISTENERS_HOOK]),
        programs: &[Program::Iterate { name: "held_listeners", over: "task_file", map: None }],
        evidence: "accept queues of listeners that tasks hold open",
        lost: QUEUES_LOST,
        ..Hook::DEFAULT
    },
];

const QUEUES_LOST: &str = "accept queues, and the owners of those that overflow";

/// netfilter answers with an RST.
const REJECT: Hook = Hook {
    source: "nf_send_reset.rs",
    evidence: "firewall rejects",
    lost: "firewall rejects",
    counts: Counts::All(Direction::Sent),
    ..Hook::DEFAULT
};

/// A drop is recognised as a reject by the RST that follows it.
const REJECTS_LOST: Option<&str> = Some("firewall rejects whose RST no socket of this host receives");

/// The last ACK of a handshake reaches its listener.
const LAST_ACK: Hook = Hook {
    source: "syn_recv_sock.rs",
    evidence: "handshakes whose last ACK meets a full accept queue",
    lost: OVERFLOWS_LOST,
    fallback: by_drops(None, infer::OVERFLOWS, &[&OVERFLOW_DROP_REASON]),
    ..Hook::DEFAULT
};

/// The stack answers a segment with an RST, or is asked to answer an RST.
const ANSWER: Hook = Hook {
    source: "v4_send_reset.rs",
    stage: Stage::Complete,
    evidence: "RSTs received for connections that are gone; before Linux 6.10 also sent resets that no tracepoint reports",
    lost: REPEATS_LOST,
    lost_without: Some((&RESET_REASONS, UNTRACED_LOST)),
    counts: Counts::Without(&RESET_REASONS, Direction::Sent),
    ..Hook::DEFAULT
};

/// The packet program sees headers, where functions that handle them cannot be hooked.
const fn by_packets(lost: Option<&'static str>) -> Option<Fallback> {
    Some(Fallback { hook: PACKET_HOOK, needs: &[], lost, infer: 0 })
}

/// Drops show what netfilter and full queues did, where their functions cannot be hooked.
const fn by_drops(
    lost: Option<&'static str>,
    infer: u64,
    needs: &'static [&'static super::features::Feature],
) -> Option<Fallback> {
    Some(Fallback { hook: "kfree_skb", needs, lost, infer })
}

#[cfg(test)]
mod tests;
