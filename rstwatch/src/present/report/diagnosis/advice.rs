//! What to change first: the changes that would prevent most resets.

use std::cmp::Reverse;

use serde::Serialize;

use crate::present::report::bursts::Restart;
use crate::present::report::tally::CauseTally;
use crate::present::report::top::Top;
use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::explain;
use rstwatch_verdict::judged::Judged;

/// Maximum pieces of advice: more at once would not be followed.
const MAX_ADVICE: usize = 3;
/// Maximum places that one piece of advice names.
const MAX_PLACES: usize = 3;

/// Resets by the place that the advice is about.
type Places = Top<String, Box<Judged>>;

/// One change.
#[derive(Debug, Serialize)]
pub(crate) struct Advice {
    /// A cause, or the restart of a peer.
    pub what: String,
    /// The direction of the resets, where a cause has advice for each.
    pub direction: Option<Direction>,
    /// How many resets the change would have prevented, at most.
    pub resets: u64,
    /// The change.
    pub advice: String,
}

/// Ranks the advice on each cause, and on peers that restart without draining their connections.
pub(super) fn change_first(causes: &[(Cause, &CauseTally)], restarts: &[Restart]) -> Vec<Advice> {
    let independent = causes.iter().filter(|(cause, tally)| !is_explained(*cause, tally, restarts));
    let by_cause = independent.flat_map(|(cause, tally)| advice_on_cause(*cause, tally));
    let mut all: Vec<_> = restarts.iter().map(advice_on_restart).chain(by_cause).collect();
    all.sort_by_key(|advice| Reverse(advice.resets));
    all.truncate(MAX_ADVICE);
    all
}

/// Advice for each direction, because the end that resets needs different advice from its victim.
fn advice_on_cause(cause: Cause, tally: &CauseTally) -> Vec<Advice> {
    let both = tally.places.len() > 1;
    let advice = tally.places.iter().filter_map(|(direction, places)| {
        let advice = advice_on_places(cause, *direction, places)?;
        let direction = both.then_some(*direction);
        Some(Advice { what: cause.to_string(), direction, resets: places.total(), advice })
    });
    advice.collect()
}

/// What would decide, and the advice of `explain`, for an event of the most frequent place, which is named if there are
/// others.
fn advice_on_places(cause: Cause, direction: Direction, places: &Places) -> Option<String> {
    if cause == Cause::Refused {
        return Some(advice_on_refusals(direction, places));
    }
    let ranked = places.ranked();
    let (first, example) = ranked.first()?;
    let [_, decide, change] = explain::guidance(&example.event, example.timing.timer);
    let steps: Vec<_> = decide.into_iter().chain(change).collect();
    if steps.is_empty() {
        return None;
    }
    let advice = steps.join("; ");
    match (ranked.len(), cause) {
        // Only this advice has numbers that may differ elsewhere.
        (2.., Cause::IdleReaped | Cause::MiddleboxIdle) => {
            Some(format!("{} ({} of them): {advice}", first.key, first.count))
        }
        _ => Some(advice),
    }
}

/// Names the addresses where attempts are refused, unless none stands out, as in a port scan.
fn advice_on_refusals(direction: Direction, places: &Places) -> String {
    let ranked = places.ranked();
    let named: Vec<_> = ranked.iter().take(MAX_PLACES).map(|(place, _)| place).collect();
    if named.iter().map(|place| place.count).sum::<u64>() * 2 < places.total() {
        let addresses = match places.distinct() {
            Some(n) => format!("{n} addresses"),
            None => format!("more than {} addresses", ranked.len()),
        };
        let advice = Cause::Refused.entry().advice(direction == Direction::Sent);
        return format!("{addresses}, none of which stands out: {advice}");
    }
    let more = match (ranked.len() - named.len(), places.distinct()) {
        (0, _) => None,
        (n, Some(_)) => Some(format!("{n} more")),
        (_, None) => Some("many more".to_owned()),
    };
    let parts: Vec<_> = named.iter().map(|place| place.key.clone()).chain(more).collect();
    explain::refused(direction, &conjunction(&parts))
}

/// `a`, `a and b`, `a, b and c`.
fn conjunction(parts: &[String]) -> String {
    match parts {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => parts.concat(),
    }
}

fn advice_on_restart(restart: &Restart) -> Advice {
    Advice {
        what: format!("restart of {}", restart.peer),
        direction: None,
        resets: restart.resets,
        advice: format!("there: {}", Cause::ProcessDied.entry().fix),
    }
}

/// Whether all resets of this cause involve one peer, and its restart accounts for all of them.
fn is_explained(cause: Cause, tally: &CauseTally, restarts: &[Restart]) -> bool {
    let ranked = tally.peers.ranked();
    let [(only, ())] = &ranked[..] else { return false };
    restarts.iter().filter(|restart| restart.peer.to_string() == only.key).any(|restart| {
        let explained = if cause == Cause::Refused { restart.refusals } else { restart.resets };
        tally.resets <= explained
    })
}
