//! The table against the eBPF sources, and the documentation against the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use expect_test::expect_file;

use super::*;

/// The programs of each source file in `rstwatch-ebpf/src/hooks`, with their kind.
fn sources() -> BTreeMap<String, BTreeSet<(String, &'static str)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rstwatch-ebpf/src/hooks");
    let entries = std::fs::read_dir(folder).expect("the hooks' sources").map(|entry| entry.expect("an entry"));
    let named = entries.map(|entry| (entry.file_name().into_string().expect("UTF-8"), entry.path()));
    let hooks = named.filter(|(name, _)| name != "mod.rs");
    hooks.map(|(name, path)| (name, programs(&std::fs::read_to_string(path).expect("a source")))).collect()
}

/// The functions that follow a program's attribute.
fn programs(source: &str) -> BTreeSet<(String, &'static str)> {
    let mut found = BTreeSet::new();
    let mut pending = None;
    for line in source.lines() {
        let kinds = [
            ("#[btf_tracepoint", "tracepoint"),
            ("#[fentry", "fentry"),
            ("#[kprobe", "kprobe"),
            ("#[cgroup_skb", "cgroup_skb"),
            ("#[unsafe(link_section = \"iter/", "iterator"),
        ];
        if let Some((_, kind)) = kinds.into_iter().find(|(attribute, _)| line.starts_with(attribute)) {
            pending = Some(kind);
        }
        let name = line.strip_prefix("pub fn ").and_then(|rest| rest.split('(').next());
        if let (Some(name), Some(kind)) = (name, pending) {
            found.insert((name.to_owned(), kind));
            pending = None;
        }
    }
    found
}

#[test]
fn the_table_has_every_program_of_every_source() {
    let mut table: BTreeMap<String, BTreeSet<(String, &str)>> = BTreeMap::new();
    for hook in HOOKS {
        let programs = hook.programs.iter().map(|program| (program.name().to_owned(), program.kind()));
        table.entry(hook.source.to_owned()).or_default().extend(programs);
    }
    assert_eq!(table, sources());
}

#[test]
fn names_are_unique_and_refer_to_earlier_hooks() {
    let mut names = BTreeSet::new();
    for hook in HOOKS {
        let referred: &[&str] = match &hook.when {
            When::Always => &[],
            When::With(name) => std::slice::from_ref(name),
            When::WithoutAnyOf(names) => names,
        };
        assert!(referred.iter().all(|name| names.contains(name)), "{} depends on a later hook", hook.name);
        assert!(names.insert(hook.name), "{} is declared twice", hook.name);
    }
    let fallbacks = HOOKS.iter().filter_map(|hook| hook.fallback.as_ref()).map(|fallback| fallback.hook);
    assert!(fallbacks.chain(OVERFLOW_HOOKS).chain([EVICTION_HOOK]).all(|name| names.contains(name)));
}

#[test]
fn hooks_follow_in_the_order_of_their_stages() {
    assert!(HOOKS.is_sorted_by_key(|hook| hook.stage));
    let required: Vec<_> = HOOKS.iter().filter(|hook| hook.is_required()).map(|hook| hook.name).collect();
    assert_eq!(required, ["inet_sock_set_state", "tcp_receive_reset", "tcp_send_reset"]);
}

#[test]
fn each_hook_is_described() {
    for hook in HOOKS {
        assert!(!hook.programs.is_empty() && !hook.evidence.is_empty() && !hook.lost.is_empty(), "{}", hook.name);
        let fentry = hook.programs.iter().find(|program| program.kind() == "fentry");
        assert!(fentry.is_none_or(|program| program.name() == hook.name), "{} is named after its function", hook.name);
    }
}

/// docs/hooks.md, written from the table: `UPDATE_EXPECT=1 cargo test -p rstwatch --lib kernel::hooks`.
#[test]
fn the_documentation_is_this_table() {
    expect_file!["../../../../docs/hooks.md"].assert_eq(&document());
}

fn document() -> String {
    let mut text = String::from(HEAD);
    for hook in HOOKS {
        let (name, source, evidence) = (hook.name, hook.source, hook.evidence);
        let (by, without) = (programs_of(hook), without(hook));
        _ = writeln!(text, "| [`{name}`](../rstwatch-ebpf/src/hooks/{source}) | {by} | {evidence} | {without} |");
    }
    text
}

const HEAD: &str = "# Hooks

<!-- Written by `UPDATE_EXPECT=1 cargo test -p rstwatch --lib kernel::hooks`. Do not edit: change rstwatch/src/kernel/hooks.rs. -->

Every hook of rstwatch in the kernel, in the order of attachment. `rstwatch check` reports which of them a host allows; for a
running agent, see `rstwatch_probe_attached` and `rstwatch_probe_missed`.

- **attached by**: the program types, in the order in which they are tried. rstwatch uses fentry only
  for functions of vmlinux; a kprobe also reaches those of modules.
- **without it**: the hook that replaces it, if any, and the evidence that is lost.

| hook | attached by | evidence | without it |
|---|---|---|---|
";

/// The ways to attach a hook, its condition, and what it needs of the kernel.
fn programs_of(hook: &Hook) -> String {
    let kinds: Vec<_> = hook.programs.iter().map(|program| program.kind()).collect();
    let mut text = kinds.join(", ");
    if let Some(Program::Iterate { over, .. }) = hook.programs.first() {
        _ = write!(text, " over `{over}`");
    }
    let quoted = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match hook.when {
        When::Always => (),
        When::With(name) => _ = write!(text, "; only with `{name}`"),
        When::WithoutAnyOf([name]) => _ = write!(text, "; only without `{name}`"),
        When::WithoutAnyOf(names) => _ = write!(text, "; only if one of {} is not attached", quoted(names)),
    }
    for feature in hook.needs {
        _ = write!(text, "; since Linux {}", feature.since);
    }
    text
}

fn without(hook: &Hook) -> String {
    if hook.is_required() {
        return "required".to_owned();
    }
    let mut text = match &hook.fallback {
        None => hook.lost.to_owned(),
        Some(Fallback { hook: name, needs, lost, .. }) => {
            let since = needs.iter().map(|feature| format!(" (since Linux {})", feature.since)).collect::<String>();
            let lost = lost.map_or("same evidence".to_owned(), |lost| format!("but lost: {lost}"));
            format!("`{name}`{since}, {lost}. Without both: {}", hook.lost)
        }
    };
    if let Some((feature, lost)) = hook.lost_without {
        _ = write!(text, "; before Linux {}: {lost}", feature.since);
    }
    text
}
