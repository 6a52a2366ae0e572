//! Stage 4: decides cause, sender and confidence, and nothing else does. Pure: no clock, no I/O, no kernel types.
//!
//! One ordered table ([`rules::RULES`]); the first rule whose predicate holds gives the verdict. Rules of a sent and of
//! a received reset never compete, so the order matters within a direction only.
//!
//! Sent resets (`sent`, `after_close`):
//! 1. netfilter: its own record is proof.
//! 2. Handshakes: the answered segment alone decides.
//! 3. Active resets of a live socket: the reset is the end of the connection, and the kernel's reason names it.
//! 4. Answers to a segment of a connection that had ended here: whatever ended it is the cause. The death of the owner
//!    comes first, then timeouts and aborts, then closes (from a certain idle time to none), then the tails of connections.
//!
//! Received resets (`received`):
//! 1. Connection attempts.
//! 2. RSTs that the peer's stack did not send: nothing else about them can be trusted.
//! 3. Correlation: connections to one server that ended together, and refusals since.
//! 4. After the peer's FIN, which explains the RST better than its shape does. Then doubtful senders.
//! 5. Aborts of a live socket (RST with ACK): from data that the peer left unread to no sign of a loss.
//! 6. Bare RSTs of a stack that does not know the connection: from special cases to the general one.

mod after_close;
mod received;
pub mod rules;
mod sent;

use crate::cause::{Cause, Confidence, Sender};
use crate::evidence::{Evidence, Received, SenderVerdict};

pub use rules::{RULES, Rule};

/// What the evidence says about one reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that decided, for tests and debugging.
    pub rule: &'static str,
    /// Why the connection was reset.
    pub cause: Cause,
    /// Who emitted the RST.
    pub sender: Sender,
    /// How sure the verdict is.
    pub confidence: Confidence,
    /// The sentence of the rule.
    pub because: String,
}

/// The verdict on one reset.
pub fn classify(evidence: &Evidence) -> Verdict {
    match evidence {
        Evidence::Received(Received { sender_verdict: Some(verdict), .. }) => both_ends(verdict),
        _ => from_table(RULES, evidence),
    }
}

/// The verdict of the first rule that applies.
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

/// The verdict of the sending end, which is on this host too, as the receiver sees it: a local program or stack is the
/// peer, but this host's firewall stays this host's firewall.
///
/// Confidence stays the sender's. If both ends infer the same, that adds nothing: both measure the same idle period.
fn both_ends(seen: &SenderVerdict) -> Verdict {
    let confidence = seen.confidence;
    let sender = match seen.sender {
        Sender::LocalApp | Sender::LocalKernel => Sender::Peer,
        other => other,
    };
    let because = format!("the sending end is on this host: {}", seen.because);
    Verdict { rule: "both_ends", cause: seen.cause, sender, confidence, because }
}

fn undecided() -> Verdict {
    let because = "the evidence does not identify a cause".to_owned();
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
