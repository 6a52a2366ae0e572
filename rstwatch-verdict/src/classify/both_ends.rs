//! The verdict on a received reset for which the sender's record is at hand too.

use super::Verdict;
use crate::cause::{Cause, Confidence, Sender};
use crate::evidence::SenderVerdict;

/// The sending end's verdict, as the receiver sees it: a local program or stack is the peer, but this host's firewall
/// stays this host's firewall. `alone` is what the receiver's evidence says.
///
/// Confidence stays the sender's. If both ends infer the same, that adds nothing: both measure the same idle period.
pub(super) fn verdict(seen: &SenderVerdict, alone: &Verdict) -> Verdict {
    // A router that holds the peer's address answers with its own stack once it has forgotten the translation.
    if alone.sender == Sender::Middlebox && forgot(seen) {
        let because = format!(
            "a stack of this host that does not hold the connection answered in the peer's name; {}",
            alone.because
        );
        let (sender_confidence, confidence) = (seen.sender_confidence, Confidence::Likely);
        // After an idle period the translation has expired; otherwise what the stack says is all there is.
        let idle = alone.candidates.first() == Some(&Cause::MiddleboxIdle);
        let cause = if idle { Cause::MiddleboxIdle } else { seen.cause };
        let candidates = vec![cause];
        return Verdict {
            rule: "router_answered",
            cause,
            candidates,
            sender_confidence,
            confidence,
            because,
            ..*alone
        };
    }
    Verdict {
        rule: "both_ends",
        cause: seen.cause,
        candidates: seen.candidates.clone(),
        sender: as_received(seen.sender),
        sender_confidence: seen.sender_confidence,
        confidence: seen.confidence,
        because: format!("the sending end is on this host: {}", seen.because),
    }
}

/// Whether the sending stack knew nothing of the connection.
fn forgot(seen: &SenderVerdict) -> bool {
    seen.cause == Cause::NoSuchConnection && seen.candidates == [Cause::NoSuchConnection]
}

fn as_received(sender: Sender) -> Sender {
    match sender {
        Sender::LocalApp | Sender::LocalKernel => Sender::Peer,
        other => other,
    }
}
