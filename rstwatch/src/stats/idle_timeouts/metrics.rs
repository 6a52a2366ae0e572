//! The metric of inferred idle timeouts.

use std::fmt;

use super::IdleTimeout;
use crate::metric::{Family, Label, Unit, Writer};
use rstwatch_verdict::text::fraction;

const PEER: Label = Label::new("peer", "address and port of a destination that this host connected to");
const BOUND: Label = Label::new(
    "bound",
    "`survived`: the longest idle period that a connection survived; `died`: the shortest that ended one",
);

/// Idle timeouts of destinations, as many as are configured to be shown.
pub const FAMILIES: &[Family<[IdleTimeout]>] = &[Family::gauge(
    "idle_timeout",
    "Inferred idle timeout of a destination in seconds, as two bounds: the longest idle period that a connection survived, and the shortest that ended one.",
    idle_timeout,
)
.unit(Unit::Seconds)
.labels(&[PEER, BOUND])];

fn idle_timeout(timeouts: &[IdleTimeout], out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for timeout in timeouts {
        let peer = timeout.peer.to_string();
        let bounds = [("survived", timeout.survived), ("died", timeout.died.map(|died| died.after))];
        for (bound, idle) in bounds {
            let Some(idle) = idle else { continue };
            samples.gauge(&[&peer, bound], fraction(idle))?;
        }
    }
    Ok(())
}
