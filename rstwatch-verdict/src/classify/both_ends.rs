//! The verdict on a received reset for which the sender's record is at hand too.

use super::rules::RULES;
use super::{Explained, Verdict, from_table};
use crate::cause::Cause::{ConntrackFull, FirewallReject, MiddleboxIdle, NoSuchConnection};
use crate::cause::{Candidates, Cause, Confidence, Sender};
use crate::evidence::{Evidence, Received, SenderVerdict};

/// The sending end's verdict, as the receiver sees it: a local program or stack is the peer, but this host's firewall
/// stays this host's firewall. `evidence` is the receiver's.
///
/// Confidence stays the sender's. If both ends infer the same, that adds nothing: both measure the same idle period.
pub(super) fn verdict(seen: &SenderVerdict, received: &Received, evidence: &Evidence) -> Verdict {
    // A router that holds the peer's address answers with its own stack once it has forgotten the translation.
    if forgot(seen) {
        let alone = from_table(RULES, evidence);
        if alone.sender == Sender::Middlebox {
            return router_answered(seen, &alone);
        }
    }
    let (sender, sender_confidence) = as_received(seen);
    let Explained { cause, candidates, confidence } = explained(seen, received);
    Verdict {
        rule: "both_ends",
        cause,
        candidates,
        sender,
        sender_confidence,
        confidence,
        because: format!("the sending end is on this host: {}", seen.because).into(),
    }
}

fn router_answered(seen: &SenderVerdict, alone: &Verdict) -> Verdict {
    let because = format!(
        "a stack of this host that does not hold the connection answered in the peer's name; {}",
        alone.because
    );
    // After an idle period the translation has expired; otherwise what the stack says is all there is.
    let idle = alone.candidates.first() == Some(&MiddleboxIdle);
    let cause = if idle { MiddleboxIdle } else { seen.cause };
    Verdict {
        rule: "router_answered",
        cause,
        candidates: [cause].into(),
        sender_confidence: seen.sender_confidence,
        confidence: Confidence::Likely,
        because: because.into(),
        ..*alone
    }
}

/// The cause. What the sender does not know, the receiver's evidence may still tell.
fn explained(seen: &SenderVerdict, received: &Received) -> Explained {
    let (cause, candidates, confidence) = (seen.cause, seen.candidates, seen.confidence);
    let of_sender = Explained { cause, candidates, confidence };
    // An RST in this end's name had ended the connection there, but this end's socket lived until now.
    if seen.after_rst {
        return of_sender.not_by_the_socket();
    }
    let undecided = seen.candidates.is_empty() && seen.confidence == Confidence::Guess;
    if !undecided && !forgot(seen) {
        return of_sender;
    }
    let Verdict { cause, candidates, confidence, .. } = by_peer(seen, received);
    match candidates[..] {
        [] => of_sender,
        [_] => Explained { cause, candidates, confidence },
        _ if undecided => Explained { cause, candidates, confidence },
        _ => {
            // netfilter's rejects have records of their own.
            let remains = |cause: &Cause| ![FirewallReject, ConntrackFull, NoSuchConnection].contains(cause);
            let others = candidates.iter().copied().filter(remains);
            let candidates = Candidates::from_iter(std::iter::once(NoSuchConnection).chain(others));
            Explained { cause: NoSuchConnection, candidates, confidence: seen.confidence }
        }
    }
}

/// What the receiver's evidence says once it is known that the peer sent the RST.
fn by_peer(seen: &SenderVerdict, received: &Received) -> Verdict {
    let mut received = received.clone();
    received.other_end_silent = false;
    received.forgery.traced = true;
    received.shape = seen.shape;
    from_table(RULES, &Evidence::Received(received))
}

/// Whether the sending stack knew nothing of the connection.
fn forgot(seen: &SenderVerdict) -> bool {
    seen.cause == NoSuchConnection && seen.candidates.first() == Some(&NoSuchConnection)
}

/// The RST was seen to leave a stack or a program of this host, whichever of the two.
fn as_received(seen: &SenderVerdict) -> (Sender, Confidence) {
    match seen.sender {
        Sender::LocalApp | Sender::LocalKernel => (Sender::Peer, Confidence::Certain),
        other => (other, seen.sender_confidence),
    }
}
