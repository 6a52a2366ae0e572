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
//! Received resets (`received`): who sent them is decided first and apart, by the signs in the packet (`sender`).
//! 1. Connection attempts.
//! 2. RSTs of a device: nothing else about them can be trusted.
//! 3. Correlation: connections to one server that ended together, and refusals since.
//! 4. After the peer's FIN, which explains the RST better than its shape does. Then conflicting signs.
//! 5. Aborts of a live socket (RST with ACK).
//! 6. Bare RSTs of a stack that does not know the connection: from special cases to the general one.
//!
//! Where several causes remain, the rule names their family, and `candidates` lists them.

mod after_close;
mod both_ends;
mod candidates;
mod received;
pub mod rules;
mod sender;
mod sent;

use crate::cause::{Candidates, Cause, Confidence, Sender};
use crate::evidence::{EndedBecause, Evidence, Received, SenderVerdict, Sent};
use crate::text::Sentence;

pub use rules::{By, RULES, Rule};

/// What the evidence says about one reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that decided, for tests and debugging.
    pub rule: &'static str,
    /// Why the connection was reset: a cause, or a family of causes.
    pub cause: Cause,
    /// The causes that remain, the most plausible first. A single cause has itself alone; `unknown` has none.
    pub candidates: Candidates,
    /// Who emitted the RST.
    pub sender: Sender,
    /// How sure the sender is.
    pub sender_confidence: Confidence,
    /// How sure the cause is.
    pub confidence: Confidence,
    /// The sentence of the rule.
    pub because: Sentence,
}

impl Verdict {
    /// The verdict on a sent reset, as evidence for its receiver.
    pub fn to_receiver(&self, sent: &Evidence) -> SenderVerdict {
        SenderVerdict {
            cause: self.cause,
            sender: self.sender,
            sender_confidence: self.sender_confidence,
            confidence: self.confidence,
            candidates: self.candidates,
            shape: sent.shape(),
            after_rst: self.rule == AFTER_RST,
            because: self.because.clone(),
        }
    }
}

/// The rule of late segments of a connection that an RST had ended.
const AFTER_RST: &str = "tail_of_reset";

/// The verdict on one reset.
pub fn classify(evidence: &Evidence) -> Verdict {
    if let Evidence::Received(it @ Received { sender_verdict: Some(seen), .. }) = evidence {
        return both_ends::verdict(seen, it, evidence);
    }
    let alone = from_table(RULES, evidence);
    match evidence {
        Evidence::Sent(Sent { ended_because: Some(because), resumed, .. }) if alone.rule == AFTER_RST => {
            let Explained { cause, candidates, confidence } = inherited(because, *resumed);
            Verdict { cause, candidates, confidence, ..alone }
        }
        _ => alone,
    }
}

/// A cause, the causes that remain, and how sure the cause is.
struct Explained {
    cause: Cause,
    candidates: Candidates,
    confidence: Confidence,
}

impl Explained {
    /// The cause of an RST that the socket in its name did not send, because that lived on.
    fn not_by_the_socket(mut self) -> Self {
        let before = self.candidates.len();
        let lives = |cause: &Cause| !Cause::PeerAbort.entry().covers.contains(cause);
        self.candidates = self.candidates.iter().copied().filter(lives).collect();
        match self.candidates[..] {
            [] => Self {
                cause: Cause::MiddleboxInjected,
                candidates: [Cause::MiddleboxInjected, Cause::MiddleboxIdle, Cause::FirewallReject].into(),
                confidence: Confidence::Likely,
            },
            _ if self.candidates.len() == before => self,
            [cause] => Self { cause, confidence: Confidence::Likely, ..self },
            _ => Self { confidence: Confidence::Likely, ..self },
        }
    }
}

/// The cause of the RST that ended a connection is that of its late segments. `resumed`: they lie beyond the RST.
fn inherited(because: &EndedBecause, resumed: bool) -> Explained {
    let confidence = because.confidence.max(Confidence::Likely);
    let of_rst = Explained { cause: because.cause, candidates: because.candidates, confidence };
    if resumed { of_rst.not_by_the_socket() } else { of_rst }
}

/// The verdict of the first rule that applies.
fn from_table(rules: &[Rule], evidence: &Evidence) -> Verdict {
    let Some(rule) = rules.iter().find(|rule| (rule.when)(evidence)) else { return undecided(evidence) };
    let (sender, sender_confidence) = sender::of(rule.by, evidence);
    Verdict {
        rule: rule.id,
        cause: rule.cause,
        candidates: remaining(rule, evidence),
        sender,
        sender_confidence,
        confidence: match rule.confidence {
            Confidence::Certain if evidence.is_derived() => Confidence::Likely,
            confidence => confidence,
        },
        because: (rule.says)(evidence),
    }
}

fn remaining(rule: &Rule, evidence: &Evidence) -> Candidates {
    match rule.among {
        Some(among) => among(evidence).into_iter().collect(),
        None if rule.cause == Cause::Unknown => Candidates::NONE,
        None => [rule.cause].into(),
    }
}

fn undecided(evidence: &Evidence) -> Verdict {
    let (sender, sender_confidence) = sender::of(By::Signs, evidence);
    Verdict {
        rule: "undecided",
        cause: Cause::Unknown,
        candidates: Candidates::NONE,
        sender,
        sender_confidence,
        confidence: Confidence::Guess,
        because: "the evidence does not identify a cause".into(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
