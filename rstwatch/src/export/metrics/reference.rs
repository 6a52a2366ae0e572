//! docs/metrics.md, written from what the agent exports: `UPDATE_EXPECT=1 cargo test -p rstwatch --lib reference`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use expect_test::expect_file;

use super::tests::{exposition, kubernetes};
use super::{Exposition, Format, encode};
use crate::capacity::procfs::Reading;
use crate::capacity::{Conntrack, ConntrackDrops, Snapshot, Stack};

/// What each label says. A label that is not here fails the test.
const LABELS: &[(&str, &str)] = &[
    ("address", "where a listener listens; `0.0.0.0` or `::` for every address"),
    ("bound", "`survived`: a connection outlived so long a silence; `died`: one did not"),
    ("cause", "the verdict, as `rstwatch explain` lists them; `unsampled`: counted without details"),
    ("counted", "what we had counted: `more` than the kernel, or `fewer`"),
    (
        "direction",
        "`sent`: this host's stack or firewall emitted the RST; `received`: a socket of this host accepted it",
    ),
    (
        "kind",
        "of conntrack: what was lost, as in /proc/net/stat/nf_conntrack, and `full`: its `drop` while the table was full; of the Kubernetes API: how it failed",
    ),
    ("le", "upper bound of a bucket"),
    ("namespace", "Kubernetes namespace; empty where there is none"),
    ("netns", "inode of a network namespace, as `ip netns` and /proc/PID/ns/net show it"),
    ("object", "SHA-256 of the eBPF object"),
    ("peer", "address and port of a destination"),
    ("port", "port of a listener"),
    ("probe", "name of a probe, as `rstwatch check` lists them"),
    (
        "reason",
        "the kernel's `sk_rst_reason`; `none`: a received reset has none; `nf_reject`: by netfilter; `missed`: the kernel did not run the program",
    ),
    (
        "result",
        "what owner was found: `pod`, `container`, `unit`, `process`; `unresolved`: the cgroup or pod was not known in time",
    ),
    ("revision", "commit of the build"),
    ("sender", "`local_app`, `local_kernel`, `local_firewall`, `peer`, `middlebox` or `unknown`"),
    ("stage", "where details were lost: `missed`, `rate_limited`, `ring_full`, `decode`, `follower`"),
    ("state", "whether the counters of a network namespace can be read"),
    ("version", "version of the build"),
    ("what", "what there was no room for: `pod` or `address`"),
    ("workload", "whose connection it was; `_other` beyond the configured limit; empty where nobody is known"),
    ("workload_kind", "`pod`, `container`, `unit` or `process`; empty where nobody is known"),
];

/// Of a full host nothing is absent.
fn whole() -> Exposition {
    let proc = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capacity/fixture/proc/1/net");
    let some = Some(1);
    let exposition = exposition();
    let capacity = Snapshot {
        counters: Reading::of(&proc).expect("the fixture").counters,
        conntrack: Some(Conntrack { entries: 1, limit: 1 }),
        conntrack_drops: Some(ConntrackDrops { full: some, early_drop: some, insert_failed: some, invalid: some }),
        stack: Stack {
            orphans: some,
            orphans_limit: some,
            time_wait: some,
            time_wait_limit: some,
            memory_bytes: some,
            memory_limit_bytes: some,
        },
        ..Snapshot::clone(&exposition.capacity)
    };
    let kubernetes = Some(kubernetes());
    Exposition { capacity: Arc::new(capacity), kubernetes, web_config: Some(true), ..exposition }
}

#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
}

/// Families by the names that queries use, in the order of the text.
fn families(text: &str) -> Vec<(String, Family)> {
    let mut families: Vec<(String, Family)> = Vec::new();
    for line in text.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", "HELP", name, help] => {
                families.push((name.to_owned(), Family { help: help.to_owned(), ..Family::default() }));
            }
            ["#", "TYPE", _, kind] => kind.clone_into(&mut families.last_mut().expect("HELP comes first").1.kind),
            _ => families.last_mut().expect("HELP comes first").1.labels.extend(labels(line)),
        }
    }
    families
}

/// Names of a sample's labels: what stands between a brace or a comma and `="`.
fn labels(sample: &str) -> impl Iterator<Item = String> {
    let inner = sample.split_once('{').map_or("", |(_, rest)| rest);
    let names = inner.split("=\"").filter_map(|part| part.rsplit(['{', ',']).next());
    let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !name.is_empty();
    names.filter(plain).map(str::to_owned)
}

fn reference() -> String {
    let families = families(&encode(whole(), Format::Prometheus).expect("text"));
    let known: BTreeMap<_, _> = LABELS.iter().copied().collect();
    let mut out = String::from(
        "# Metrics\n\n<!-- Written by a test of rstwatch/src/export/metrics/reference.rs. Do not edit: see there. -->\n\n\
         What `/metrics` of `rstwatch agent` exports. A metric whose source cannot be read is absent, never 0. A counter\n\
         starts at 0 with the agent.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    let mut seen = BTreeSet::new();
    for (name, Family { help, kind, labels }) in &families {
        let listed = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        _ = writeln!(out, "| `{name}` | {kind} | {listed} | {} |", help.replace('|', "\\|"));
        seen.extend(labels.iter().map(String::as_str));
    }
    out += "\n## Labels\n\n| label | says |\n|---|---|\n";
    for label in &seen {
        _ = writeln!(out, "| `{label}` | {} |", known.get(label).expect("each label is explained in LABELS"));
    }
    assert_eq!(seen, known.keys().copied().collect(), "LABELS explains what is exported, and nothing else");
    out
}

#[test]
fn the_reference_is_what_is_exported() {
    expect_file!["../../../../docs/metrics.md"].assert_eq(&reference());
}
