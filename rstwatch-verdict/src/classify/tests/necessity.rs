//! The golden cases against damaged tables: each rule is needed, and none is wider than it must be.
//!
//! Damage to the predicates themselves is cargo-mutants' work; see CONTRIBUTING.md.

use super::super::{RULES, Rule, Verdict, from_table};
use super::evidence_cases;
use crate::cause::{Candidates, Cause, Confidence, Direction, Sender};
use crate::evidence::Evidence;

/// The part of a verdict that is a fixed word for users.
type Seen = (Cause, Candidates, Sender, Confidence);

fn seen(verdict: &Verdict) -> Seen {
    (verdict.cause, verdict.candidates, verdict.sender, verdict.confidence)
}

/// All golden cases as evidence, with the verdict of the undamaged table.
fn golden() -> Vec<(Evidence, Verdict)> {
    evidence_cases().map(|(_, evidence)| (evidence.clone(), from_table(RULES, &evidence))).collect()
}

/// Verdicts that a damaged table changes, before and after.
fn changed(table: &[Rule], golden: &[(Evidence, Verdict)]) -> Vec<(Verdict, Verdict)> {
    let both = golden.iter().map(|(evidence, verdict)| (verdict.clone(), from_table(table, evidence)));
    both.filter(|(before, after)| before.rule != after.rule).collect()
}

/// Rules that change only the sentence, because a later rule gives the same words. Each with its reason.
const SENTENCE_ALONE: &[(&str, &str)] = &[];

/// Without the rule, one of its cases gets other words, not only another sentence.
#[test]
fn each_rule_is_needed() {
    let golden = golden();
    for (index, rule) in RULES.iter().enumerate() {
        let table: Vec<_> = RULES.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, rule)| *rule).collect();
        let changed = changed(&table, &golden);
        let excused = SENTENCE_ALONE.iter().any(|(id, _)| *id == rule.id);
        let needed = changed.iter().any(|(before, after)| seen(before) != seen(after));
        let instead: Vec<_> = changed.iter().map(|(_, after)| after.rule).collect();
        assert!(
            needed != excused,
            "rule {id}: without it {instead:?} decide its cases and say {said}. If the rule is needed, add a record \
             that it decides and for which those say something else, as a case (\"{id}\", || ...) to classify/tests/; if only \
             its sentence matters, list it in SENTENCE_ALONE",
            id = rule.id,
            said = if needed { "something else, though it is excused" } else { "the same" },
        );
    }
}

/// If a rule always applied, a case of a later rule with the same direction would get other words. So the cases contain
/// a counterexample for each predicate, and for the last one a case that stays undecided.
#[test]
fn each_rule_has_a_counterexample() {
    let golden = golden();
    for (index, rule) in RULES.iter().enumerate() {
        let direction = direction(rule.id);
        let mut table = RULES.to_vec();
        table[index].when = |_| true;
        let near: Vec<_> = golden.iter().filter(|(evidence, _)| evidence.direction() == direction).cloned().collect();
        let changed = changed(&table, &near);
        let other_words = changed.iter().any(|(before, after)| seen(before) != seen(after));
        assert!(
            other_words,
            "rule {id}: no {direction} case gets other words if its predicate always holds. Add a record that it must \
             not decide, and that no rule before it does, as a case of a later rule or of \"undecided\" to \
             classify/tests/",
            id = rule.id,
        );
    }
}

/// The direction of a rule's resets, taken from its cases.
fn direction(rule: &str) -> Direction {
    let of_rule = evidence_cases().find(|(id, _)| *id == rule);
    of_rule.unwrap_or_else(|| panic!("rule {rule}: no case; add a record that it decides")).1.direction()
}
