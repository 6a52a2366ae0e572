//! Who sent an RST. For a received one the signs in the packet and the connection decide, whatever the cause is.

use super::rules::By;
use crate::cause::Confidence::{Certain, Guess, Likely};
use crate::cause::{Confidence, Sender};
use crate::evidence::{Abort, End, Ending, Evidence, Origin, Received, Sent};

/// The sender, and how sure it is. This host's own resets are traced where they are made.
pub(super) fn of(by: By, evidence: &Evidence) -> (Sender, Confidence) {
    let traced = if evidence.is_derived() { Likely } else { Certain };
    match by {
        // Only the stack answers segments. A derived reason concerns the cause, not the sender.
        By::LocalKernel if answers(evidence) => (Sender::LocalKernel, Certain),
        By::LocalApp => (Sender::LocalApp, traced),
        By::LocalKernel => (Sender::LocalKernel, traced),
        By::LocalFirewall => (Sender::LocalFirewall, traced),
        By::Signs => match evidence {
            Evidence::Received(received) => by_signs(received),
            _ => of_this_host(evidence),
        },
    }
}

fn answers(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Sent(Sent { answered: Some(_), .. }))
}

/// The sender of a reset that no rule explains. An owner aborts a socket that is in CLOSE already.
fn of_this_host(evidence: &Evidence) -> (Sender, Confidence) {
    match evidence {
        Evidence::Sent(Sent {
            end: Some(End { ending: Ending::Aborted(Abort { by_owner: true, .. }), .. }), ..
        }) => (Sender::LocalApp, Likely),
        _ => (Sender::LocalKernel, if answers(evidence) { Certain } else { Likely }),
    }
}

fn by_signs(received: &Received) -> (Sender, Confidence) {
    match received.forgery.origin() {
        // A reject may have been missed where its hook has only a fallback.
        _ if received.other_end_silent => (Sender::Middlebox, Likely),
        Origin::Device => (Sender::Middlebox, Likely),
        Origin::Open => (Sender::Unknown, Guess),
        // Nothing speaks against the peer, and nothing for it: the header or the handshake's TTL was not seen.
        Origin::Peer if !received.connecting && !received.forgery.speaks_for_the_peer() => (Sender::Peer, Guess),
        Origin::Peer => (Sender::Peer, Likely),
    }
}
