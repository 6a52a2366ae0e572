//! Who sent an RST. For a received one the signs in the packet and the connection decide, whatever the cause is.

use super::rules::By;
use crate::cause::Confidence::{Certain, Guess, Likely};
use crate::cause::{Confidence, Sender};
use crate::evidence::{Evidence, Origin, Received};

/// The sender, and how sure it is. This host's own resets are traced where they are made.
pub(super) fn of(by: By, evidence: &Evidence) -> (Sender, Confidence) {
    let traced = if evidence.is_derived() { Likely } else { Certain };
    match by {
        By::LocalApp => (Sender::LocalApp, traced),
        By::LocalKernel => (Sender::LocalKernel, traced),
        By::LocalFirewall => (Sender::LocalFirewall, traced),
        By::Signs => match evidence {
            Evidence::Received(received) => by_signs(received),
            _ => (Sender::Unknown, Guess),
        },
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
