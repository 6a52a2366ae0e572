//! docs/kernels.md: what each kernel lets rstwatch say for certain, what is inferred, and
//! what is not seen, from the lines that the lab wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::judging::grade::Outcome;
use crate::judging::judgement::Judgement;
use crate::judging::tally::{Side, on};

const HEAD: &str = "# Kernels

<!-- Written by `cargo xtask lab --matrix`. Do not edit: run the lab and write it anew. -->

What `rstwatch check` reports on a host is binding; this page says what to expect. Kernels differ in what they show:

| since | what | before that |
|---|---|---|
| 6.12 | the kernel gives a reason for the resets that it sends by itself | derived from the socket's fields, and never `certain` |
| 6.12 | a dropped segment comes with its socket | where `tcp_v4_syn_recv_sock` cannot be hooked, the queue that dropped a handshake's last ACK is inferred from drops |
| 6.10 | the tracepoint fires for answers without a socket and from TIME_WAIT, with a reason | a hook on `tcp_v4_send_reset` and `tcp_v6_send_reset`, by the function's own conditions, except those on TCP MD5 |
| 5.17 | drop reasons | no replacement where `nf_send_reset` or `tcp_v4_syn_recv_sock` cannot be hooked |
| 5.11 | `tcp_reset` passes the packet | the RST's header comes from a cgroup program that runs for each packet |
| 5.11 | socket storage for tracing programs | only a table of 32,768 slots. Of sockets that find none (1 in 50 of 20,000, 1 in 7 of 32,768) no state is kept, and data after a close count as a received reset. Idle gaps that connections survived are not measured, sockets older than the agent have no owner, and such listeners are not seen |

Functions in modules (`nf_send_reset`, `early_drop`) are reached by kprobes. A module that is loaded after the agent has
started is not hooked until the agent restarts; until then firewall rejects are inferred from drops. On a kernel that
refuses fentry and kprobes (lockdown), the cgroup program and `kfree_skb` are the sources.

No kernel shows an RST that reaches the end that closed first, once its close is acknowledged: what is left there is a
TIME_WAIT mini-socket, which ends silently (net/ipv4/tcp_minisocks.c, tcp_timewait_state_process). So for two ends on one
host, more resets can be counted as sent than as received.

The tables count the lab's verdicts by the true cause and the confidence of the right ones. *As seen from there* is
explained in [accuracy.md](accuracy.md).
";

/// The whole document, from the judgements of each kernel in the order of their age.
pub(crate) fn document<'a>(kernels: impl Iterator<Item = (&'a str, &'a [Judgement])>) -> String {
    let mut text = HEAD.to_owned();
    for (kernel, judgements) in kernels {
        text += &table(kernel, judgements);
    }
    text
}

fn table(kernel: &str, judgements: &[Judgement]) -> String {
    let sides = Side::EACH.map(|side| cells(on(side, judgements)));
    let truths: BTreeSet<&str> = sides.iter().flat_map(|cells| cells.keys().copied()).collect();
    let [sent, both, alone] = Side::EACH.map(Side::name);
    let mut text = format!("\n## Linux {kernel}\n\n| cause | {sent} | {both} | {alone} |\n|---|---|---|---|\n");
    for truth in truths {
        let cell = |cells: &Cells| cells.get(truth).map(said).unwrap_or_default();
        let [sent, both, alone] = sides.each_ref().map(cell);
        let _ = writeln!(text, "| {truth} | {sent} | {both} | {alone} |");
    }
    text
}

/// By the true cause, how often what was said.
type Cells<'a> = BTreeMap<&'a str, BTreeMap<String, u64>>;

fn cells<'a>(judgements: impl Iterator<Item = &'a Judgement>) -> Cells<'a> {
    let mut cells = Cells::new();
    for judgement in judgements.filter(|judgement| judgement.truth != "none") {
        if let Some(word) = word(judgement) {
            *cells.entry(&judgement.truth).or_default().entry(word).or_default() += 1;
        }
    }
    cells
}

fn word(judgement: &Judgement) -> Option<String> {
    let confidence = judgement.got.as_ref().map(|got| got.confidence.as_str());
    let seen = if judgement.as_seen.is_some() { " as seen from there" } else { "" };
    Some(match judgement.result {
        Outcome::Right => format!("{}{seen}", confidence?),
        Outcome::Unknown => "unknown".to_owned(),
        Outcome::NotSeen => "*not seen*".to_owned(),
        Outcome::Wrong | Outcome::Missing | Outcome::Extra => "**wrong**".to_owned(),
        Outcome::NotMade | Outcome::Skipped => return None,
    })
}

fn said(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ")
}
