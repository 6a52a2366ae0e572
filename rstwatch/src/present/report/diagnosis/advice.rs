//! What to change first: the changes that would prevent most resets.

use std::cmp::Reverse;

use serde::Serialize;

use crate::present::report::bursts::Restart;
use crate::present::report::tally::CauseTally;
use crate::present::report::top::Top;
use rstwatch_verdict::cause::Cause;
use rstwatch_verdict::explain;

/// Maximum pieces of advice: more at once would not be followed.
const MAX_ADVICE: usize = 3;

/// One change.
#[derive(Debug, Serialize)]
pub(crate) struct Advice {
    /// A cause, or the restart of a peer.
    pub what: String,
    /// How many resets the change would have prevented, at most.
    pub resets: u64,
    /// The change.
    pub advice: String,
}

/// Ranks the advice on each cause, and on peers that restart without draining their connections.
pub(super) fn change_first(causes: &[(Cause, &CauseTally)], restarts: &[Restart]) -> Vec<Advice> {
    let independent = causes.iter().filter(|(cause, tally)| !is_explained(*cause, tally, restarts));
    let by_cause = independent.filter_map(|(cause, tally)| advice_on_cause(*cause, tally));
    let mut all: Vec<_> = restarts.iter().map(advice_on_restart).chain(by_cause).collect();
    all.sort_by_key(|advice| Reverse(advice.resets));
    all.truncate(MAX_ADVICE);
    all
}

/// The advice of `explain` on an event of the most frequent peer. General advice if no single place is to blame.
fn advice_on_cause(cause: Cause, tally: &CauseTally) -> Option<Advice> {
    let example = tally.example()?;
    let advice = if is_spread(cause, tally) {
        cause.entry().fix.to_owned()
    } else {
        explain::advice(&example.event, example.timing.timer)?
    };
    Some(Advice { what: cause.to_string(), resets: tally.resets, advice })
}

fn advice_on_restart(restart: &Restart) -> Advice {
    Advice {
        what: format!("restart of {}", restart.peer),
        resets: restart.resets,
        advice: format!("there: {}", Cause::ProcessDied.entry().fix),
    }
}

/// Whether all resets of this cause involve one peer, and its restart accounts for all of them.
fn is_explained(cause: Cause, tally: &CauseTally, restarts: &[Restart]) -> bool {
    let ranked = tally.peers.ranked();
    let [(only, _)] = &ranked[..] else { return false };
    restarts.iter().filter(|restart| restart.peer.to_string() == only.key).any(|restart| {
        let explained = if cause == Cause::Refused { restart.refusals } else { restart.resets };
        tally.resets <= explained
    })
}

/// Whether no single place has half of the refusals, as in a port scan: advice on one of them would mislead.
fn is_spread(cause: Cause, tally: &CauseTally) -> bool {
    fn most<V>(names: &Top<String, V>) -> u64 {
        names.ranked().first().map_or(0, |(name, _)| name.count)
    }
    // Sent refusals are about a port of this host, which the owner names; received ones about a port of the peer.
    let most = if tally.sent > 0 { most(&tally.owners) } else { most(&tally.peers) };
    cause == Cause::Refused && most * 2 < tally.resets
}
