//! docs/accuracy.md: how often rstwatch was right, from the lines that the lab wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use dev_support::paths;

use crate::judging::certainty;
use crate::judging::grade::Outcome;
use crate::judging::judgement::{self, Judgement};

use crate::judging::tally::{Side, Tally, on};
use crate::rows::table::rows;
use crate::watchers::vantage::Vantage;

const HEAD: &str = "# Accuracy

<!-- Written by `cargo xtask lab --matrix`. Do not edit: run the lab and write it anew. -->

Each reset below was made for real between network namespaces, and proven by the kernel's own counters and by the
sockets' errors. Each row states what is true of it. A verdict counts as *right* if it is the truth, or if the row says
that no more can be known from where it was given (*as seen from there*, with the reason, listed below). The word
`unknown` counts as *unknown*. Everything else is *wrong*.

*all* watches both ends and the router; *client* and *server* watch one end alone. *Not seen* is what a kernel does not
show; it is not counted as right. In the tables **bold** marks cells with wrong verdicts, and ≈ cells with verdicts that
are right as seen from there. What is still under way when a connection ends, and what a flood draws, counts once.
";

/// Reads results and writes the document.
pub(crate) fn write(from: &[PathBuf]) -> Result<()> {
    let mut judgements = Vec::new();
    for path in from {
        judgements.extend(judgement::read(path)?);
    }
    ensure!(!judgements.is_empty(), "no results in the files of --from: write them with `cargo xtask lab --json PATH`");
    let by_kernel = by_kernel(&judgements);
    fs::create_dir_all(paths::root().join("docs"))?;
    let kernels = by_kernel.iter().map(|((_, kernel), judgements)| (*kernel, judgements.as_slice()));
    for (name, text) in
        [("accuracy.md", document(&judgements, &by_kernel)), ("kernels.md", certainty::document(kernels))]
    {
        let path = paths::root().join("docs").join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote docs/{name} from {} judgements", judgements.len());
    }
    Ok(())
}

/// Kernels in the order of their age, by version.
type ByKernel<'a> = BTreeMap<(Vec<u64>, &'a str), Vec<Judgement>>;

fn by_kernel(judgements: &[Judgement]) -> ByKernel<'_> {
    let mut by_kernel = ByKernel::new();
    for judgement in judgements {
        let version = version(&judgement.kernel);
        let key = (numbers(version), version);
        by_kernel.entry(key).or_default().push(judgement.clone());
    }
    by_kernel
}

fn document(judgements: &[Judgement], by_kernel: &ByKernel<'_>) -> String {
    let mut text = HEAD.to_owned();
    text += &totals(by_kernel);
    for ((_, kernel), of_kernel) in by_kernel {
        text += &format!("\n## Linux {kernel}\n\n{}", runs(of_kernel));
        text += &Vantage::EACH.map(|vantage| confusion(of_kernel, vantage.name())).concat();
        text += &failures(of_kernel);
        text += &hidden(of_kernel);
    }
    text + &silence(judgements) + &equivalences(judgements) + &controls(judgements) + &list_of_rows()
}

/// What stands before a distributor's own words.
fn version(release: &str) -> &str {
    release.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or(release)
}

/// Kernels in the order of their age.
fn numbers(kernel: &str) -> Vec<u64> {
    kernel.split(|c: char| !c.is_ascii_digit()).map_while(|word| word.parse().ok()).collect()
}

fn totals(by_kernel: &ByKernel<'_>) -> String {
    let mut text = "\n## Totals\n\n| kernel | resets | right | as seen from there | unknown | wrong | missing | \
        unexpected | not seen | right of all | wrong and `certain` | wrong `middlebox_*` |\n\
        |---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for ((_, kernel), judgements) in by_kernel {
        for side in Side::EACH {
            let tally = Tally::of(on(side, judgements));
            let n = |outcome| tally.count(outcome);
            let _ = writeln!(
                text,
                "| {kernel} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                side.name(),
                n(Outcome::Right) - tally.as_seen,
                tally.as_seen,
                n(Outcome::Unknown),
                n(Outcome::Wrong),
                n(Outcome::Missing),
                n(Outcome::Extra),
                n(Outcome::NotSeen),
                tally.percent_right(),
                tally.wrong_certain,
                tally.wrong_middlebox
            );
        }
    }
    text
}

fn runs(judgements: &[Judgement]) -> String {
    let variants: BTreeSet<(&str, &str)> =
        judgements.iter().map(|judgement| (judgement.row.as_str(), judgement.family.as_str())).collect();
    let runs: BTreeSet<u32> = judgements.iter().map(|judgement| judgement.run).collect();
    let times = if runs.len() == 1 { "once".to_owned() } else { format!("{} times", runs.len()) };
    format!("{} variants (row and family), each made {times}.\n", variants.len())
}

/// Truth by verdict; each cell has the counts of IPv4 and IPv6. Bold: some were wrong. ≈:
/// some were right as seen from there.
fn confusion(judgements: &[Judgement], vantage: &str) -> String {
    let mut cells: BTreeMap<(&str, String), Cell> = BTreeMap::new();
    let mut verdicts = BTreeSet::new();
    let here = judgements.iter().filter(|judgement| judgement.vantage == vantage && judgement.direction.is_some());
    for judgement in here {
        let verdict = match (&judgement.got, judgement.result) {
            (Some(got), _) => got.cause.clone(),
            (None, Outcome::NotSeen) => "*not seen*".to_owned(),
            (None, _) => "*missing*".to_owned(),
        };
        verdicts.insert(verdict.clone());
        let family = usize::from(judgement.family != "v4");
        let cell = cells.entry((judgement.truth.as_str(), verdict)).or_default();
        cell.counts[family] += 1;
        cell.wrong |= matches!(judgement.result, Outcome::Wrong | Outcome::Extra | Outcome::Missing);
        cell.as_seen |= judgement.as_seen.is_some() && judgement.result == Outcome::Right;
    }
    let truths: BTreeSet<&str> = cells.keys().map(|(truth, _)| *truth).collect();
    let mut text = format!("\n### Vantage {vantage}: truth by verdict (IPv4 + IPv6)\n\n| truth |");
    for verdict in &verdicts {
        text += &format!(" {verdict} |");
    }
    text += &format!("\n|---|{}\n", "---|".repeat(verdicts.len()));
    for truth in truths {
        text += &format!("| {truth} |");
        for verdict in &verdicts {
            let cell = cells.get(&(truth, verdict.clone()));
            text += &cell.map_or_else(|| "  |".to_owned(), |cell| format!(" {} |", cell.text()));
        }
        text.push('\n');
    }
    text
}

/// How often, by family.
#[derive(Default)]
struct Cell {
    counts: [u64; 2],
    wrong: bool,
    as_seen: bool,
}

impl Cell {
    fn text(&self) -> String {
        let [v4, v6] = self.counts;
        match (self.wrong, self.as_seen) {
            (true, _) => format!("**{v4} + {v6}**"),
            (false, true) => format!("{v4} + {v6} ≈"),
            (false, false) => format!("{v4} + {v6}"),
        }
    }
}

/// What went wrong, and what was `unknown`, by row.
fn failures(judgements: &[Judgement]) -> String {
    let mut lines: BTreeMap<(&str, &str, &str, String), u64> = BTreeMap::new();
    for judgement in judgements {
        let at = (judgement.row.as_str(), judgement.family.as_str(), judgement.vantage.as_str());
        let mut enter = |what: String| *lines.entry((at.0, at.1, at.2, what)).or_default() += 1;
        match judgement.result {
            Outcome::Skipped => {}
            Outcome::Unknown if judgement.faults.is_empty() => enter(format!("`unknown`; it was {}", judgement.truth)),
            _ => judgement.faults.iter().map(|fault| without_numbers(fault)).for_each(enter),
        }
    }
    if lines.is_empty() {
        return "\nNothing was wrong, and nothing `unknown`.\n".to_owned();
    }
    let mut text =
        "\n### What was not right\n\n| row | family | vantage | what | times |\n|---|---|---|---|---|\n".to_owned();
    for ((row, family, vantage, what), times) in lines {
        let _ = writeln!(text, "| {row} | {family} | {vantage} | {what} | {times} |");
    }
    text
}

/// So that the same fault with other milliseconds is one line.
fn without_numbers(fault: &str) -> String {
    let idle = fault.starts_with("idle ") || fault.starts_with("no idle_ms");
    if idle { "idle time off".to_owned() } else { fault.to_owned() }
}

fn hidden(judgements: &[Judgement]) -> String {
    let mut rows: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for judgement in judgements {
        let what = match judgement.result {
            Outcome::NotSeen => format!("not seen from {}: {}", judgement.vantage, seen(judgement)),
            Outcome::Skipped => format!("skipped: {}", judgement.faults.join(", ")),
            _ => continue,
        };
        rows.entry(judgement.row.as_str()).or_default().insert(what);
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut text = "\n### Not seen on this kernel\n\n".to_owned();
    for (row, what) in rows {
        let what: Vec<String> = what.into_iter().collect();
        let _ = writeln!(text, "- {row}: {}", what.join("; "));
    }
    text
}

fn seen(judgement: &Judgement) -> String {
    let word = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}@{} {}", word(&judgement.direction), word(&judgement.at), judgement.truth)
}

fn silence(judgements: &[Judgement]) -> String {
    let error = |judgement: &Judgement| {
        let (least, said) = (judgement.idle_truth_ms?, judgement.idle_ms?);
        let most = least + judgement.idle_slack_ms.unwrap_or(0);
        Some(least.saturating_sub(said).max(said.saturating_sub(most)))
    };
    let errors: Vec<u64> = judgements.iter().filter_map(error).collect();
    let busy = judgements.iter().filter(|judgement| judgement.busy && judgement.got.is_some());
    let off = |judgement: &&Judgement| judgement.faults.iter().any(|fault| fault.contains("idle"));
    let late = judgements.iter().filter(|judgement| judgement.idle_truth_ms.is_some()).filter(off).count();
    format!(
        "\n## Idle times\n\n{} events with an idle time by the lab's own clock: the largest error is {} ms, {late} are \
         beyond the tolerance (50 ms or 2 %). {} events of connections that were never idle: {} were called idle.\n",
        errors.len(),
        errors.iter().max().copied().unwrap_or(0),
        busy.clone().count(),
        busy.filter(off).count()
    )
}

fn equivalences(judgements: &[Judgement]) -> String {
    let mut uses: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for judgement in judgements {
        if let (Some(why), Some(got)) = (&judgement.as_seen, &judgement.got) {
            *uses.entry((&judgement.truth, &got.cause, why)).or_default() += 1;
        }
    }
    let mut text =
        "\n## As seen from there\n\nWhere one end alone cannot know the truth, another verdict is right from \
        there too.\n\n| truth | also right | why | used | rows |\n|---|---|---|---|---|\n"
            .to_owned();
    let mut all: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for row in rows() {
        for want in row.wants {
            for alike in want.alone.iter().chain(want.also) {
                all.entry((want.cause, alike.cause, alike.why)).or_default().insert(row.id);
            }
        }
    }
    for ((truth, alike, why), ids) in all {
        let used = uses.get(&(truth, alike, why)).copied().unwrap_or(0);
        let ids: Vec<&str> = ids.into_iter().collect();
        let _ = writeln!(text, "| {truth} | {alike} | {why} | {used} | {} |", ids.join(", "));
    }
    text
}

fn controls(judgements: &[Judgement]) -> String {
    let mut text = "\n## Negative controls\n\nNothing may be said of these.\n\n| row | what | checks | events |\n|---|---|---|---|\n".to_owned();
    for row in rows().filter(|row| row.wants.is_empty()) {
        let of_row = || judgements.iter().filter(|judgement| judgement.row == row.id);
        let judged =
            of_row().filter(|judgement| !matches!(judgement.result, Outcome::Skipped | Outcome::NotMade)).count();
        let events = of_row().filter(|judgement| judgement.result == Outcome::Extra).count();
        let _ = writeln!(text, "| {} | {} | {judged} | {events} |", row.id, row.what);
    }
    text
}

fn list_of_rows() -> String {
    let mut text = "\n## Rows\n\n| row | what | truth |\n|---|---|---|\n".to_owned();
    for row in rows().filter(|row| !row.wants.is_empty()) {
        let truths: BTreeSet<&str> = row.wants.iter().map(|want| want.cause).collect();
        let truths: Vec<&str> = truths.into_iter().collect();
        let _ = writeln!(text, "| {} | {} | {} |", row.id, row.what, truths.join(", "));
    }
    text
}
