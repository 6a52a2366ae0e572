//! From the kernel's answers to what they mean: which probe is attached, replaced by another, or missing.

use super::features::Feature;
use super::hook::Hook;
use super::probe::{Probe, Probes, Status};

/// A hook and the kernel's answer: attached, or why not.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) hook: &'static Hook,
    pub(super) answer: Result<(), String>,
}

/// The probes, required ones first. Hooks that were not tried are left out.
pub(super) fn probes(outcomes: &[Outcome], has: impl Fn(&Feature) -> bool) -> Probes {
    let is_attached = |name: &str| outcomes.iter().any(|it| it.hook.name == name && it.answer.is_ok());
    let fallback = |hook: &'static Hook| {
        let fallback = hook.fallback.as_ref()?;
        let able = is_attached(fallback.hook) && fallback.needs.iter().all(|feature| has(feature));
        able.then_some(fallback)
    };
    let replaced_by = |name: &str| -> Vec<_> {
        let failed = outcomes.iter().filter(|it| it.answer.is_err()).map(|it| it.hook);
        failed.filter(|hook| fallback(hook).is_some_and(|by| by.hook == name)).map(|hook| hook.name).collect()
    };
    let status = |Outcome { hook, answer }: &Outcome| match (answer, fallback(hook)) {
        (Ok(()), _) => match replaced_by(hook.name) {
            none if none.is_empty() => Status::Attached,
            replaces => Status::Fallback { replaces },
        },
        (Err(why), Some(fallback)) => Status::Replaced { why: why.clone(), by: fallback.hook, lost: fallback.lost },
        (Err(why), None) => Status::Missing { why: why.clone() },
    };
    let evidence = |hook: &Hook| match hook.lost_without {
        Some((feature, lost)) if !has(feature) => lost,
        _ => hook.lost,
    };
    let probe = |outcome: &Outcome| Probe {
        name: outcome.hook.name,
        required: outcome.hook.is_required(),
        status: status(outcome),
        evidence: evidence(outcome.hook),
    };
    let mut probes: Vec<_> = outcomes.iter().map(probe).collect();
    probes.sort_by_key(|probe| !probe.required);
    Probes(probes)
}

#[cfg(test)]
mod tests;
