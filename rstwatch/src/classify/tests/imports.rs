//! What the module that decides may know: words and evidence. No I/O, no clock, no kernel types.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of this crate, and of the standard library, that may be named in `classify`.
const ALLOWED: &[(&str, &str)] = &[
    ("crate", "cause"),
    ("crate", "evidence"),
    ("crate", "classify"),
    ("crate", "text"),
    ("std", "time"),
    ("std", "fmt"),
];

/// Of `std::time`, the types that tell the time.
const CLOCKS: [&str; 3] = ["Instant", "SystemTime", "UNIX_EPOCH"];

/// Paths are rooted here or in a crate that Cargo.toml names; the rest is relative.
fn foreign() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("../../Cargo.toml")).expect("Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).expect("dependencies").split("\n[").next();
    let names = dependencies.expect("a section").lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/classify")
}

/// The sources, tests left out: those must make records.
fn sources() -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(root()).expect("src/classify").map(|entry| entry.expect("an entry").path());
    let paths = entries.filter(|path| path.is_file());
    paths.map(|path| (path.clone(), fs::read_to_string(&path).expect("a source"))).collect()
}

/// `root::module` for each path of a source; comments left out. `root::{a, b}` names several.
fn named(source: &str, roots: &[String]) -> BTreeSet<(String, String)> {
    let code: String = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut found = BTreeSet::new();
    for root in roots {
        for (at, _) in code.match_indices(&format!("{root}::")) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &code[at + root.len() + 2..];
            let first =
                |part: &str| part.trim().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().map(str::to_owned);
            let parts = rest
                .strip_prefix('{')
                .map_or(vec![rest], |group| group.split('}').next().unwrap_or_default().split(',').collect());
            found.extend(parts.into_iter().filter_map(first).map(|module| (root.clone(), module)));
        }
    }
    found
}

fn roots() -> Vec<String> {
    let mut roots = foreign();
    roots.extend(["crate", "std", "core", "alloc"].map(str::to_owned));
    roots
}

#[test]
fn classify_knows_words_and_evidence_alone() {
    let (sources, roots) = (sources(), roots());
    assert!(sources.len() >= 4, "{sources:?}");
    for (path, source) in &sources {
        let clock = CLOCKS.iter().find(|clock| source.contains(**clock));
        assert_eq!(clock, None, "{}: classify has no clock; times are fields of Evidence", path.display());
        for (root, module) in named(source, &roots) {
            let allowed = ALLOWED.iter().any(|(r, m)| *r == root && *m == module);
            assert!(
                allowed,
                "{} names {root}::{module}: classify decides by evidence alone; make it a field of Evidence",
                path.display()
            );
        }
    }
}

/// The reader of paths itself.
#[test]
fn paths_are_read() {
    let roots = roots();
    let pairs = |source: &str| named(source, &roots).into_iter().map(|(root, module)| format!("{root}::{module}"));
    let cases: [(&str, &[&str]); 6] = [
        ("use crate::cause::{Cause, Sender};", &["crate::cause"]),
        ("use std::{fs, time::Duration};", &["std::fs", "std::time"]),
        ("let now = std::time::Instant::now();", &["std::time"]),
        ("use rstwatch_common::record::ResetRecord;", &["rstwatch_common::record"]),
        ("// crate::clock", &[]),
        ("mycrate::x; super::seconds(ago)", &[]),
    ];
    for (source, expected) in cases {
        assert_eq!(pairs(source).collect::<Vec<_>>(), expected, "{source}");
    }
}
