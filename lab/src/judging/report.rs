//! The lab's results as a table.

use crate::judging::figures;
use crate::judging::grade::Outcome;
use crate::judging::judgement::Judgement;
use crate::kernel::Kernel;
use crate::network::host::Family;
use crate::rows::table::Row;

/// One line of the table, over all repeats.
pub(crate) struct Line {
    row: String,
    vantage: String,
    expected: String,
    /// The other results, each once, and the events of the first.
    missed: Vec<String>,
    /// Results without a fault that are not exact, each once.
    inexact: Vec<String>,
    evidence: Vec<String>,
    good: u32,
    tries: u32,
}

/// The result of one check.
pub(crate) enum Got {
    /// The expected result.
    Expected,
    /// A result without a fault that is not exact.
    Inexact(String),
    /// Another result, and the raw events behind it.
    Else(String, Vec<String>),
}

/// All lines so far.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    skipped: Vec<(String, String)>,
    pub(crate) judgements: Vec<Judgement>,
}

impl Report {
    pub(crate) fn enter(&mut self, row: &str, vantage: &str, expected: String, got: Got) {
        let line = self.line(row, vantage, expected);
        line.tries += 1;
        match got {
            Got::Expected => line.good += 1,
            Got::Inexact(what) => {
                line.good += 1;
                if !line.inexact.contains(&what) {
                    line.inexact.push(what);
                }
            }
            Got::Else(what, evidence) => {
                if line.missed.is_empty() {
                    line.evidence = evidence;
                }
                if !line.missed.contains(&what) {
                    line.missed.push(what);
                }
            }
        }
    }

    /// Enters a row that was not judged, because it was skipped or not made.
    pub(crate) fn not_judged(
        &mut self,
        row: &Row,
        family: Family,
        run: u32,
        kernel: &Kernel,
        why: Result<String, String>,
    ) {
        let (result, why) = match why {
            Ok(failed) => (Outcome::NotMade, failed),
            Err(skipped) => (Outcome::Skipped, skipped),
        };
        let truth = row.wants.first().map_or("none", |want| want.cause).to_owned();
        let base = Judgement::of(row, family, MAKING, run, kernel);
        self.judgements.push(Judgement { result, truth, faults: vec![why], ..base });
    }

    /// Enters the judgements of one row from one vantage point.
    pub(crate) fn judged(&mut self, judgements: Vec<Judgement>) {
        let Some(first) = judgements.first() else { return };
        let faulty = || judgements.iter().filter(|judgement| !judgement.faults.is_empty());
        let faults: Vec<String> = faulty().flat_map(|judgement| judgement.faults.clone()).collect();
        let events = faulty().filter_map(|judgement| Some(judgement.event.as_ref()?.to_string())).collect();
        let inexact: Vec<String> = judgements.iter().filter_map(Judgement::note).collect();
        let got = match (faults.is_empty(), inexact.is_empty()) {
            (true, true) => Got::Expected,
            (true, false) => Got::Inexact(inexact.join(", ")),
            (false, _) => Got::Else(faults.join(", "), events),
        };
        let hidden = judgements.iter().any(|judgement| judgement.result == Outcome::NotSeen);
        let note = if hidden { " (not all seen here)" } else { "" };
        let (row, vantage) = (format!("{} {}", first.row, first.family), first.vantage.clone());
        let expected = format!("{}{note}", first.expected);
        self.enter(&row, &vantage, expected, got);
        self.judgements.extend(judgements);
    }

    /// Enters the result of a check. A check that could not be made counts as failed.
    pub(crate) fn enter_result(&mut self, row: &str, vantage: &str, expected: String, got: anyhow::Result<Got>) {
        let got = got.unwrap_or_else(|why| Got::Else(format!("{why:#}"), Vec::new()));
        self.enter(row, vantage, expected, got);
    }

    pub(crate) fn skip(&mut self, row: &str, why: &str) {
        if !self.skipped.iter().any(|(known, _)| known == row) {
            self.skipped.push((row.to_owned(), why.to_owned()));
        }
    }

    fn line(&mut self, row: &str, vantage: &str, expected: String) -> &mut Line {
        let known = |line: &Line| line.row == row && line.vantage == vantage;
        let at = self.lines.iter().position(known).unwrap_or(self.lines.len());
        if at == self.lines.len() {
            self.lines.push(Line {
                row: row.to_owned(),
                vantage: vantage.to_owned(),
                expected,
                missed: Vec::new(),
                inexact: Vec::new(),
                evidence: Vec::new(),
                good: 0,
                tries: 0,
            });
        }
        &mut self.lines[at]
    }

    /// Prints the table, then failures, skipped rows and totals. Returns the number of failed lines.
    pub(crate) fn print(&self) -> usize {
        let width = |of: fn(&Line) -> usize| self.lines.iter().map(of).max().unwrap_or(0);
        let (row, expected) = (width(|l| l.row.len()), width(|l| l.expected.chars().count()));
        println!("{:row$}  vantage  {:expected$}  k/N  got", "row", "expected");
        for line in &self.lines {
            println!(
                "{:row$}  {:7}  {:expected$}  {}/{}  {}",
                line.row,
                line.vantage,
                line.expected,
                line.good,
                line.tries,
                line.got()
            );
        }
        self.lines.iter().filter(|line| line.missed()).for_each(Line::print_failure);
        for (row, why) in &self.skipped {
            println!("skipped: {row}: {why}");
        }
        let failed = self.lines.iter().filter(|line| line.missed()).count();
        if !self.judgements.is_empty() {
            println!("{}", figures::summary(&self.judgements));
        }
        println!("{} passed, {failed} failed", self.lines.len() - failed);
        failed
    }
}

/// Prefix of the lines about failures.
pub const FAILED: &str = "failed: ";

impl Line {
    fn missed(&self) -> bool {
        self.good < self.tries
    }

    /// Prints what came instead, and the raw events behind it.
    fn print_failure(&self) {
        println!("{FAILED}row {}, {}: expected {}, got {}", self.row, self.vantage, self.expected, self.got());
        self.evidence.iter().for_each(|event| println!("{FAILED}  {event}"));
    }

    fn got(&self) -> String {
        let all: Vec<&str> = self.missed.iter().chain(&self.inexact).map(String::as_str).collect();
        if all.is_empty() { "as expected".to_owned() } else { all.join(" | ") }
    }
}

/// The vantage column of a line about making a reset.
pub(crate) const MAKING: &str = "making";
