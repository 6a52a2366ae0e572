//! The metric of found owners.

use std::fmt;

use super::Outcome;
use crate::metric::{Family, Label, Writer};

const RESULT: Label = Label::new(
    "result",
    "what the owner is: `pod`, `container`, `unit` or `process`; `unresolved`: its cgroup or pod was unknown when the event was delivered",
);

/// Owners by what was found.
pub const FAMILIES: &[Family<[(Outcome, u64)]>] =
    &[Family::counter("owners", "Events since the agent started, by what their owner was found to be.", owners)
        .labels(&[RESULT])];

fn owners(owners: &[(Outcome, u64)], out: Writer<'_, '_>) -> fmt::Result {
    if owners.is_empty() {
        return Ok(());
    }
    let mut samples = out.samples()?;
    for (outcome, count) in owners {
        samples.count(&[outcome.as_str()], *count)?;
    }
    Ok(())
}
