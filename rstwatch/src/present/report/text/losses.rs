//! The section on what the report lacks: resets without details, peers that were not followed, missing probes.

use super::line::Line;
use crate::kernel::summary::by_loss;
use crate::present::report::diagnosis::{Diagnosis, MissingProbe};
use rstwatch_verdict::cause::Cause;
use rstwatch_verdict::text::count;

/// The section; empty if nothing was lost.
pub(super) fn lines(diagnosis: &Diagnosis) -> Vec<Line> {
    let mut texts: Vec<String> = unsampled(diagnosis).into_iter().chain(not_followed(diagnosis)).collect();
    texts.extend(missing_probes(&diagnosis.missing_probes));
    texts.iter().map(|text| Line::unmarked(text)).collect()
}

fn unsampled(
    Diagnosis { unsampled_sent: sent, unsampled_received: received, filtered, .. }: &Diagnosis,
) -> Option<String> {
    let all = sent + received;
    if all == 0 {
        return None;
    }
    let both_ends = if *sent > 0 && *received > 0 { "; some may be two ends of one reset" } else { "" };
    let unfiltered = if *filtered { ", and the filter does not apply to them" } else { "" };
    let (resets, fix) = (count(all, "more reset", "more resets"), Cause::Unsampled.entry().fix);
    Some(format!(
        "{resets} ({sent} sent, {received} received{both_ends}) were counted without details{unfiltered}: {fix}"
    ))
}

fn not_followed(diagnosis: &Diagnosis) -> Option<String> {
    let resets = diagnosis.peers_not_followed;
    let text = "from further peers are not considered in bursts and restarts: too many peers";
    (resets > 0).then(|| format!("{} {text}", count(resets, "reset", "resets")))
}

/// The evidence that is lost, each with the probes that would give it.
fn missing_probes(probes: &[MissingProbe]) -> Vec<String> {
    let losses = by_loss(probes.iter().map(|missing| (missing.lost, missing.probe)));
    let hint = (!losses.is_empty()).then(|| "rstwatch check says why".to_owned());
    losses.iter().map(|(lost, probes)| format!("{lost} ({} missing)", probes.join(", "))).chain(hint).collect()
}
