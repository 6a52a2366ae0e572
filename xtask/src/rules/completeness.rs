//! What promtool does not check: each alert must have annotations, a runbook, and cases in which it fires and does not fire.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::files;
use super::parse::{self, Alert, Case};

/// The sections of every runbook, in this order.
const SECTIONS: [&str; 4] = ["Meaning", "Impact", "Diagnosis", "Mitigation"];

/// Text of the runbooks by alert name.
type Runbooks = BTreeMap<String, String>;

/// An error that lists everything that is missing.
pub(super) fn check(home: &Path) -> Result<()> {
    let alerts = parse::alerts(&fs::read_to_string(home.join("rules.yaml"))?).context("rules.yaml")?;
    let problems = problems(&alerts, &cases(home)?, &runbooks(home)?);
    if !problems.is_empty() {
        bail!("deploy/prometheus is incomplete:\n  {}", problems.join("\n  "));
    }
    Ok(())
}

fn cases(home: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for file in files(&home.join("tests"), "yaml")? {
        let text = fs::read_to_string(&file)?;
        cases.extend(parse::cases(&text).with_context(|| file.display().to_string())?);
    }
    Ok(cases)
}

fn runbooks(home: &Path) -> Result<Runbooks> {
    let name = |file: &Path| file.file_stem().unwrap_or_default().display().to_string();
    files(&home.join("runbooks"), "md")?.iter().map(|file| Ok((name(file), fs::read_to_string(file)?))).collect()
}

fn problems(alerts: &[Alert], cases: &[Case], runbooks: &Runbooks) -> Vec<String> {
    let mut problems: Vec<_> = alerts.iter().flat_map(|alert| alert_problems(alert, cases, runbooks)).collect();
    for (name, text) in runbooks {
        problems.extend(runbook_problems(name, text, alerts));
    }
    let orphaned = cases.iter().filter(|case| !alerts.iter().any(|alert| alert.name == case.alert));
    problems.extend(orphaned.map(|case| format!("a case tests {:?}, which is not an alert", case.alert)));
    problems
}

fn alert_problems(alert: &Alert, cases: &[Case], runbooks: &Runbooks) -> Vec<String> {
    let Alert { name, severity, summary, description, runbook_url, .. } = alert;
    let has = |fires: bool| cases.iter().any(|case| case.alert == *name && case.fires == fires);
    let page = format!("{}/blob/main/deploy/prometheus/runbooks/{name}.md", env!("CARGO_PKG_REPOSITORY"));
    let checks = [
        (["info", "warning", "critical"].contains(&&**severity), "severity is not info, warning or critical"),
        (!summary.is_empty(), "no summary"),
        (!description.is_empty(), "no description"),
        (*runbook_url == page, "runbook_url does not point to its runbook"),
        (runbooks.contains_key(name), "no runbook"),
        (has(true), "no case in which it fires"),
        (has(false), "no case in which it must not fire"),
    ];
    checks.iter().filter(|(passed, _)| !passed).map(|(_, problem)| format!("{name}: {problem}")).collect()
}

fn runbook_problems(name: &str, text: &str, alerts: &[Alert]) -> Vec<String> {
    let mut problems = Vec::new();
    if !alerts.iter().any(|alert| alert.name == name) {
        problems.push(format!("runbook {name}: no such alert"));
    }
    let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    if sections != SECTIONS {
        problems.push(format!("runbook {name}: the sections are not {}", SECTIONS.join(", ")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> (Vec<Alert>, Vec<Case>, Runbooks) {
        let runbook_url = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/deploy/prometheus/runbooks/A.md");
        let [name, severity, summary, description, runbook_url] =
            ["A", "warning", "s", "d", runbook_url].map(str::to_owned);
        let alert = Alert { name, severity, summary, description, runbook_url, ..Alert::default() };
        let cases = [true, false].map(|fires| Case { alert: "A".to_owned(), fires });
        let runbook = SECTIONS.map(|section| format!("## {section}\n")).concat();
        (vec![alert], cases.into(), BTreeMap::from([("A".to_owned(), runbook)]))
    }

    /// The problems after one change.
    fn problems_after(change: impl FnOnce(&mut Vec<Alert>, &mut Vec<Case>, &mut Runbooks)) -> String {
        let (mut alerts, mut cases, mut runbooks) = complete();
        change(&mut alerts, &mut cases, &mut runbooks);
        problems(&alerts, &cases, &runbooks).join("; ")
    }

    #[test]
    fn reports_what_is_missing() {
        assert_eq!(problems_after(|_, _, _| ()), "");
        assert_eq!(
            problems_after(|alerts, _, _| alerts[0].severity.clear()),
            "A: severity is not info, warning or critical"
        );
        assert_eq!(problems_after(|alerts, _, _| alerts[0].summary.clear()), "A: no summary");
        assert_eq!(problems_after(|alerts, _, _| alerts[0].description.clear()), "A: no description");
        assert_eq!(
            problems_after(|alerts, _, _| alerts[0].runbook_url.push('x')),
            "A: runbook_url does not point to its runbook"
        );
        assert_eq!(problems_after(|_, cases, _| drop(cases.remove(0))), "A: no case in which it fires");
        assert_eq!(problems_after(|_, cases, _| drop(cases.remove(1))), "A: no case in which it must not fire");
        assert_eq!(problems_after(|_, _, runbooks| runbooks.clear()), "A: no runbook");
    }

    #[test]
    fn reports_what_belongs_to_no_alert() {
        let case = Case { alert: "B".to_owned(), fires: true };
        assert_eq!(problems_after(|_, cases, _| cases.push(case)), "a case tests \"B\", which is not an alert");
        let text = complete().2["A"].clone();
        assert_eq!(
            problems_after(|_, _, runbooks| drop(runbooks.insert("B".to_owned(), text))),
            "runbook B: no such alert"
        );
        let cut = "runbook A: the sections are not Meaning, Impact, Diagnosis, Mitigation";
        assert_eq!(
            problems_after(|_, _, runbooks| drop(runbooks.insert("A".to_owned(), "## Meaning\n".to_owned()))),
            cut
        );
    }

    #[test]
    fn our_rules_are_complete() {
        check(&super::super::home()).expect("complete");
    }
}
