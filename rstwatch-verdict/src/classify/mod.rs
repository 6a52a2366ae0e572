//! Stage 4: the only place that decides a cause. Pure: no clock, no I/O, no kernel types.
//!
//! One ordered table ([`rules::RULES`]); the first rule whose predicate holds gives the verdict.

mod after_close;
mod received;
pub mod rules;
mod sent;

use crate::cause::{Cause, Confidence, Sender};
use crate::evidence::{Evidence, Received, SenderVerdict};

pub use rules::{RULES, Rule};

/// What the evidence amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that decided; for tests and debugging.
    pub rule: &'static str,
    /// Why.
    pub cause: Cause,
    /// Who.
    pub sender: Sender,
    /// How sure.
    pub confidence: Confidence,
    /// The sentence of the rule.
    pub because: String,
}

/// The verdict on one reset.
pub fn classify(evidence: &Evidence) -> Verdict {
    match evidence {
        Evidence::Received(Received { sender_verdict: Some(saw), .. }) => both_ends(saw),
        _ => from_table(RULES, evidence),
    }
}

/// The first rule that holds decides.
fn from_table(rules: &[Rule], evidence: &Evidence) -> Verdict {
    let matched = rules.iter().find(|rule| (rule.when)(evidence));
    matched.map_or_else(undecided, |rule| Verdict {
        rule: rule.id,
        cause: rule.cause,
        sender: rule.sender,
        confidence: match rule.confidence {
            Confidence::Certain if evidence.is_derived() => Confidence::Likely,
            confidence => confidence,
        },
        because: (rule.says)(evidence),
    })
}

/// The sending end is on this host too: its verdict is the receiver's. To the receiver the other end is the peer, but
/// this host's firewall stays this host's firewall. What the sender's own record leaves open stays open, and what it infers is
/// not surer for that this end would infer the same: both read the same silence.
fn both_ends(saw: &SenderVerdict) -> Verdict {
    let confidence = saw.confidence;
    let sender = match saw.sender {
        Sender::LocalApp | Sender::LocalKernel => Sender::Peer,
        other => other,
    };
    let because = format!("the sending end is on this host: {}", saw.because);
    Verdict { rule: "both_ends", cause: saw.cause, sender, confidence, because }
}

fn undecided() -> Verdict {
    let because = "the evidence does not decide".to_owned();
    Verdict {
        rule: "undecided",
        cause: Cause::Unknown,
        sender: Sender::Unknown,
        confidence: Confidence::Guess,
        because,
    }
}

#[cfg(test)]
mod tests;
