//! docs/metrics.md, generated from the declarations: `UPDATE_EXPECT=1 cargo test -p rstwatch --lib reference`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use expect_test::expect_file;
use prometheus_client::metrics::MetricType;

use super::tests::{exposition, kubernetes};
use super::{Exposition, Format, TABLES, encode};
use crate::capacity::procfs::Reading;
use crate::capacity::{CapacitySnapshot, Conntrack, ConntrackDrops, Stack};
use crate::metric::{Description, Label, Unit};

/// Upper bound of a histogram's bucket, added by the encoder.
const LE: Label = Label { name: "le", meaning: "upper bound of a bucket" };

/// An exposition in which no metric is absent.
fn complete() -> Exposition {
    let proc = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capacity/fixture/proc/1/net");
    let some = Some(1);
    let exposition = exposition();
    let capacity = CapacitySnapshot {
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
        ..CapacitySnapshot::clone(&exposition.capacity)
    };
    let kubernetes = Some(kubernetes());
    Exposition { capacity: Arc::new(capacity), kubernetes, web_config: Some(true), ..exposition }
}

/// All declarations, in the order of the text.
fn descriptions() -> Vec<Description> {
    TABLES.iter().flat_map(|table| table.descriptions()).collect()
}

/// The name that queries use.
fn name(description: &Description) -> String {
    let unit = description.unit.map_or(String::new(), |unit| format!("_{}", unit.as_str()));
    let suffix = if matches!(description.kind, MetricType::Counter) { "_total" } else { "" };
    format!("rstwatch_{}{unit}{suffix}", description.name)
}

/// The labels of its samples, sorted by name.
fn labels(description: &Description) -> BTreeSet<Label> {
    let bucket = matches!(description.kind, MetricType::Histogram).then_some(LE);
    description.labels.iter().copied().chain(bucket).collect()
}

fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\n<!-- Written by a test of rstwatch/src/export/metrics/reference.rs. Do not edit: see there. -->\n\n\
         What `/metrics` of `rstwatch agent` exports. A metric whose source cannot be read is absent, never 0. A counter\n\
         starts at 0 with the agent.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    // A label may mean different things in different metrics.
    let mut meanings = BTreeMap::<&str, BTreeMap<&str, Vec<String>>>::new();
    for description in &descriptions() {
        let (name, labels) = (name(description), labels(description));
        let listed = labels.iter().map(|label| format!("`{}`", label.name)).collect::<Vec<_>>().join(", ");
        let help = description.help.replace('|', "\\|");
        _ = writeln!(out, "| `{name}` | {} | {listed} | {help} |", description.kind.as_str());
        for Label { name: label, meaning } in labels {
            meanings.entry(label).or_default().entry(meaning).or_default().push(name.clone());
        }
    }
    out += "\n## Labels\n\n| label | meaning |\n|---|---|\n";
    for (label, meanings) in &meanings {
        for (meaning, metrics) in meanings {
            let of = if meanings.len() > 1 { format!(" of `{}`", metrics.join("`, `")) } else { String::new() };
            _ = writeln!(out, "| `{label}`{of} | {meaning} |");
        }
    }
    out
}

#[test]
fn the_reference_is_current() {
    expect_file!["../../../../docs/metrics.md"].assert_eq(&reference());
}

#[test]
fn every_metric_has_its_own_help_which_names_its_unit() {
    let mut seen = BTreeMap::new();
    for description in descriptions() {
        let Description { name, help, unit, .. } = description;
        assert!(help.ends_with('.') && help.len() > 20, "{name}: {help}");
        assert!(help.starts_with(|first: char| first.is_ascii_uppercase() || first.is_ascii_digit()), "{name}: {help}");
        assert!(unit.is_none_or(|unit: Unit| help.contains(unit.as_str())), "{name} lacks its unit: {help}");
        assert_eq!(seen.insert(help, name), None, "{name} shares its help");
    }
}

#[test]
fn the_text_matches_the_declarations() {
    let text = encode(complete(), Format::Prometheus).expect("every feed matches its declaration");
    let exported: Vec<_> = families(&text);
    let declared: Vec<_> = descriptions()
        .iter()
        .map(|it| (name(it), it.kind.as_str().to_owned(), labels(it).iter().map(|it| it.name.to_owned()).collect()))
        .collect();
    assert_eq!(exported, declared);
}

/// Families of a text in order: name, type, and names of their samples' labels.
fn families(text: &str) -> Vec<(String, String, BTreeSet<String>)> {
    let mut families: Vec<(String, String, BTreeSet<String>)> = Vec::new();
    for line in text.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", "HELP", ..] => {}
            ["#", "TYPE", name, kind] => families.push((name.to_owned(), kind.to_owned(), BTreeSet::new())),
            _ => families.last_mut().expect("TYPE comes first").2.extend(label_names(line)),
        }
    }
    families
}

/// Names of a sample's labels: the text between a brace or a comma and `="`.
fn label_names(sample: &str) -> impl Iterator<Item = String> {
    let inner = sample.split_once('{').map_or("", |(_, rest)| rest);
    let names = inner.split("=\"").filter_map(|part| part.rsplit(['{', ',']).next());
    let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !name.is_empty();
    names.filter(plain).map(str::to_owned)
}
