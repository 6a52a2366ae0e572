//! Modules of the library depend only on those declared above them in `src/lib.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Top-level modules in the order of their declaration.
fn modules() -> Vec<String> {
    let lib = fs::read_to_string(src().join("lib.rs")).expect("lib.rs");
    lib.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned())).collect()
}

/// The sources of a top-level module.
fn sources(module: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = [src().join(format!("{module}.rs"))].into_iter().filter(|file| file.exists()).collect();
    let mut folders = vec![src().join(module)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Modules that a source names after `crate::`, alone or in a list.
fn named(source: &str) -> BTreeSet<&str> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let rest = code.flat_map(|line| line.split("crate::").skip(1));
    rest.flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split([',', '}']).map(first_word).collect::<Vec<_>>(),
        None => vec![first_word(rest)],
    })
    .collect()
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

#[test]
fn modules_depend_only_on_those_above_them() {
    let modules = modules();
    assert!(modules.len() >= 8, "{modules:?}");
    for (index, module) in modules.iter().enumerate() {
        let sources = sources(module);
        assert!(!sources.is_empty(), "{module} has no source");
        for path in sources {
            let source = fs::read_to_string(&path).expect("a source");
            let below = modules[index + 1..].iter().find(|below| named(&source).contains(below.as_str()));
            assert_eq!(below, None, "{} uses what lib.rs declares below `{module}`", path.display());
        }
    }
}

#[test]
fn named_modules_are_found() {
    let found = |source| named(source).into_iter().collect::<Vec<_>>();
    assert_eq!(found("use crate::kernel::btf;"), ["kernel"]);
    assert_eq!(found("use crate::{capacity, kernel};"), ["", "capacity", "kernel"]);
    assert_eq!(found("// crate::export\nlet x = crate::stats::of();"), ["stats"]);
}
