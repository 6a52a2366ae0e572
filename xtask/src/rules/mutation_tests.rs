//! Mutation test of the alerts: each mutant of an alert must fail at least one promtool case.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::parse::{self, Alert};
use super::{files, home};
use dev_support::paths;

/// Description of a mutant, its expression and its `for`.
type Mutant = (String, String, String);

/// Parts of expressions and wrong replacements. They concern new series, scrape gaps and filters.
const REPLACEMENTS: [(&str, &str); 8] = [
    ("unless", "and"),
    ("rstwatch_events_total offset 5m", "rstwatch_events_total"),
    ("increase(", "0 * increase("),
    ("min_over_time(", "max_over_time("),
    ("max_over_time(", "min_over_time("),
    ("cause=", "sender!="),
    ("kind=\"full\"", "kind!=\"invalid\""),
    ("== 1", "< 2"),
];

#[test]
fn every_mutant_is_detected() {
    let Some(promtool) = paths::program("promtool") else {
        // Not `eprintln!`, because the test harness captures its output.
        _ = writeln!(std::io::stderr(), "skipped: promtool not installed");
        return;
    };
    let text = fs::read_to_string(home().join("rules.yaml")).expect("rules");
    let alerts = parse::alerts(&text).expect("YAML");
    let (promtool, text) = (&*promtool, &*text);
    // In parallel, because promtool mostly waits.
    let survivors: Vec<_> = thread::scope(|scope| {
        let one = |alert| scope.spawn(move || survivors(promtool, text, alert));
        let all: Vec<_> = alerts.iter().map(one).collect();
        all.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
    });
    assert!(survivors.is_empty(), "the tests pass with:\n{}", survivors.join("\n"));
}

/// The mutants of an alert that its tests do not detect.
fn survivors(promtool: &Path, text: &str, alert: &Alert) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a folder");
    let tests = copy_tests(scratch.path(), &alert.name);
    let passes = |expr: &str, pending: &str| {
        fs::write(scratch.path().join("rules.yaml"), replaced(text, alert, expr, pending)).expect("written");
        let mut command = Command::new(promtool);
        command.args(["test", "rules"]).args(&tests).output().expect("promtool runs").status.success()
    };
    // Otherwise every mutant would fail because of its changed form.
    assert!(
        passes(&format!("({})", alert.expr), &alert.pending),
        "{}: fails when rewritten without a mutation",
        alert.name
    );
    let survives = |(what, expr, pending): Mutant| passes(&expr, &pending).then(|| format!("{}: {what}", alert.name));
    mutants(alert).into_iter().filter_map(survives).collect()
}

/// Copies the test files that mention the alert to the scratch folder, below its rules file.
fn copy_tests(scratch: &Path, alert: &str) -> Vec<PathBuf> {
    fs::create_dir(scratch.join("tests")).expect("a folder");
    let mut copies = Vec::new();
    for file in files(&home().join("tests"), "yaml").expect("tests") {
        let text = fs::read_to_string(&file).expect("a test");
        if text.contains(alert) {
            copies.push(scratch.join("tests").join(file.file_name().expect("a name")));
            fs::write(copies.last().expect("just pushed"), text).expect("written");
        }
    }
    copies
}

fn mutants(alert: &Alert) -> Vec<Mutant> {
    let Alert { expr, pending, .. } = alert;
    let mut mutants = vec![
        ("never fires".to_owned(), format!("({expr}) and on () vector(0) == 1"), pending.clone()),
        ("always fires".to_owned(), "vector(1)".to_owned(), pending.clone()),
        ("waits for a day".to_owned(), expr.clone(), "1d".to_owned()),
    ];
    if pending != "0m" {
        mutants.push(("does not wait".to_owned(), expr.clone(), "0m".to_owned()));
    }
    let swapped = REPLACEMENTS.iter().filter(|(from, _)| expr.contains(from));
    mutants
        .extend(swapped.map(|(from, to)| (format!("{to} instead of {from}"), expr.replace(from, to), pending.clone())));
    mutants.extend(thresholds(expr).into_iter().map(|(what, expr)| (what, expr, pending.clone())));
    mutants
}

/// The expression with one threshold lowered, and with one raised far.
fn thresholds(expr: &str) -> Vec<(String, String)> {
    let mut moved = Vec::new();
    for (at, _) in expr.match_indices("> ") {
        let (before, number) = expr.split_at(at + 2);
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let (number, after) = number.split_at(end);
        let limit: f64 = number.parse().expect("a threshold");
        let others = if limit == 0.0 { [-1.0, 1e9] } else { [limit / 2.0, limit * 100.0] };
        moved.extend(others.map(|n| (format!("> {n} instead of > {number}"), format!("{before}{n}{after}"))));
    }
    moved
}

/// The rules with a new expression and `for` for one alert.
fn replaced(text: &str, alert: &Alert, expr: &str, pending: &str) -> String {
    let head = format!("- alert: {}\n", alert.name);
    let (before, rest) = text.split_once(&head).expect("the alert");
    let (_, after) = rest.split_once(" labels:\n").expect("its labels");
    let line = expr.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{before}{head}        expr: >-\n          {line}\n        for: {pending}\n        labels:\n{after}")
}
