//! Words that the project has replaced by the field's terms: none may come back in a name, a comment or a text.
//!
//! The list is short on purpose: names, not taste. docs/glossary.md has the terms to use.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::command;
use dev_support::outcome::Outcome;
use dev_support::paths;

/// The word, and what to write instead.
const REPLACED: &[(&str, &str)] = &[
    ("company", "correlation"),
    ("companies", "correlator"),
    ("aside", "timing"),
    ("asides", "timings"),
    ("patience", "backoff, or timeout"),
    ("stray", "repeated RST"),
    ("strays", "repeated RSTs"),
    ("goodbye", "closing message"),
    ("goodbyes", "closing messages"),
    ("bury", "insert"),
    ("buried", "inserted"),
    ("graveyard", "tombstones"),
    ("ledger", "attribution, or balance"),
    ("ledgers", "attributions, or balances"),
    ("crowd", "connection burst"),
    ("crowds", "connection bursts"),
    ("bracketed", "bounded"),
];

/// The same, of several words.
const REPLACED_PHRASES: &[(&str, &str)] =
    &[("last words", "final message"), ("hall of mirrors", "type cycle"), ("stands in for", "replaces")];

/// Where they may stand: others' texts, data, and this list.
const EXEMPT: [&str; 6] =
    ["LICENSE", "/vendor/", "Cargo.lock", "package-lock.json", "fuzz/seeds/", "xtask/src/words.rs"];

/// The step.
pub(crate) fn step() -> Result<Outcome> {
    let mut found = Vec::new();
    for path in tracked()? {
        // Binary files hold no prose.
        let Ok(text) = fs::read_to_string(paths::root().join(&path)) else { continue };
        for text in [path.as_str()].into_iter().chain(text.lines()).enumerate() {
            found.extend(replaced(text.1).map(|(word, better)| format!("{path}:{}: {word}: write {better}", text.0)));
        }
    }
    if found.is_empty() { Ok(Outcome::Passed) } else { bail!("replaced words:\n{}", found.join("\n")) }
}

fn tracked() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    let listed = command::stdout(git.args(["ls-files"]).current_dir(paths::root())).context("git ls-files failed")?;
    let exempt = |path: &&str| EXEMPT.iter().any(|part| path.contains(part));
    Ok(listed.lines().filter(|path| !exempt(path)).map(str::to_owned).collect())
}

/// The replaced words of a line, each with what to write instead.
fn replaced(line: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let words = words(line);
    let text = words.join(" ");
    let phrases = REPLACED_PHRASES.iter().filter(move |(phrase, _)| text.contains(phrase));
    let single = REPLACED.iter().filter(move |(word, _)| words.iter().any(|found| found == word));
    single.chain(phrases).copied()
}

/// The words of a line in lower case; `snake_case` and `CamelCase` are several.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower_case = false;
    for c in line.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && after_lower_case) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphabetic()) {
            word.extend(c.to_lowercase());
        }
        after_lower_case = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_names_and_prose() {
        let found = |line| replaced(line).map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!(found("pub struct CompanyOfPeers; // a stray RST"), ["company", "stray"]);
        assert_eq!(found("fn late_goodbye()"), ["goodbye"]);
        assert_eq!(found("the last words of a peer"), ["last words"]);
        assert_eq!(found("accompany, astray, LASTWORDS"), Vec::<&str>::new());
    }
}
