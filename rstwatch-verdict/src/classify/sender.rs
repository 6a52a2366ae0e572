//! Who sent an RST. For a received one the signs in the packet and the connection decide, whatever the cause is.

use super::rules::By;
use crate::cause::Confidence::{Certain, Guess, Likely};
use crate::cause::{Confidence, Sender};
use crate::evidence::{Evidence, Origin, Received, Shape};

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
        _ if received.other_end_silent => (Sender::Middlebox, Certain),
        Origin::Device => (Sender::Middlebox, Likely),
        Origin::Open => (Sender::Unknown, Guess),
        // Without the header there is no sign at all.
        Origin::Peer if received.shape == Shape::Unseen => (Sender::Peer, Guess),
        Origin::Peer => (Sender::Peer, Likely),
    }
}
