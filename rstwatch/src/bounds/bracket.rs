//! What is known of one destination's idle timeout, for people and for programs.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Destination, slack};
use rstwatch_verdict::event::TimeoutCandidate;
use rstwatch_verdict::known_timeouts::{self, Place};
use rstwatch_verdict::text::{fraction, length};

/// Between what was survived and what was fatal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bracket {
    /// The remote end.
    pub peer: SocketAddr,
    /// The bracket in words.
    pub timeout: String,
    /// The longest silence that a connection survived.
    #[serde(rename = "survived_seconds", serialize_with = "as_seconds")]
    pub survived: Option<Duration>,
    /// How often one was survived.
    #[serde(rename = "survived_count")]
    pub survivals: u64,
    /// The shortest silence that was fatal, and that no survived one refutes.
    pub died: Option<Died>,
    /// How many connections were reset after a silence.
    #[serde(rename = "reset_count")]
    pub resets: u64,
    /// How many the peer closed in their silence.
    #[serde(rename = "closed_count")]
    pub closes: u64,
    /// Of both, those that died sooner than others survived: no timeout did that.
    #[serde(rename = "refuted_count")]
    pub refuted: u64,
    /// The longest silence after which a connection was used and found dead.
    #[serde(rename = "longest_use_seconds", serialize_with = "as_seconds")]
    pub longest_use: Option<Duration>,
    /// Well-known timeouts that fit.
    pub timeout_candidates: Vec<TimeoutCandidate>,
    /// When anything was last learnt of it.
    pub last_seen: Timestamp,
}

/// A silence that was fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Died {
    /// How long.
    #[serde(rename = "seconds", serialize_with = "one_as_seconds")]
    pub after: Duration,
    /// The end itself was seen; otherwise it had come by then.
    pub exact: bool,
    /// Several connections were reset after the same silence, as a timer makes them.
    pub repeated: bool,
    /// A device on the path did it.
    pub device: bool,
}

impl Bracket {
    pub(super) fn of(peer: SocketAddr, known: &Destination) -> Self {
        let died = died(known);
        Self {
            peer,
            timeout: words(known.survived, died),
            survived: known.survived,
            survivals: known.survivals,
            died,
            resets: known.resets,
            closes: known.closes,
            refuted: known.refuted,
            longest_use: known.longest_use,
            timeout_candidates: died.map(|died| candidates(known.survived, died)).unwrap_or_default(),
            last_seen: known.last_seen,
        }
    }

    /// `AWS ALB 60, nginx upstream keepalive 60`.
    pub fn candidates(&self) -> String {
        let named: Vec<_> = self.timeout_candidates.iter().map(|it| format!("{} {}", it.who, it.seconds)).collect();
        named.join(", ")
    }
}

fn died(known: &Destination) -> Option<Died> {
    let first = known.deaths.first()?;
    let near = |it: &&super::Death| it.exact && it.reset && it.after <= first.after.saturating_add(slack(first.after));
    let repeated = known.deaths.iter().filter(near).map(|it| it.count).sum::<u64>() > 1;
    Some(Died { after: first.after, exact: first.exact, repeated: first.exact && repeated, device: first.device })
}

/// The bracket in words, never tighter than it is.
fn words(survived: Option<Duration>, died: Option<Died>) -> String {
    match (survived, died) {
        (None, None) => "not known".to_owned(),
        (Some(survived), None) => format!("longer than {}", length(survived)),
        (_, Some(died)) if died.repeated => length(died.after),
        (Some(survived), Some(died)) if survived < died.after => {
            format!("between {} and {}", length(survived), text_up(died.after))
        }
        (Some(_), Some(died)) => format!("about {}", length(died.after)),
        (None, Some(died)) => format!("at most {}", text_up(died.after)),
    }
}

/// As an upper bound: cut times would claim too much.
fn text_up(silence: Duration) -> String {
    let up = if silence < Duration::from_secs(1) { Duration::ZERO } else { Duration::from_millis(99) };
    length(silence.saturating_add(up))
}

/// Where the end was seen the timeout fits it; where it had come by then the timeout is at most that long. What was
/// survived rules out the shorter ones.
fn candidates(survived: Option<Duration>, died: Died) -> Vec<TimeoutCandidate> {
    let place = died.device.then_some(Place::Device);
    let find = if died.exact { known_timeouts::fitting } else { known_timeouts::exceeded_by };
    let mut found = find(died.after, place);
    let ruled_out = |timeout: Duration| survived.is_some_and(|survived| survived > timeout + slack(timeout));
    found.retain(|it| !ruled_out(Duration::from_secs(it.seconds.into())));
    found
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn as_seconds<S: Serializer>(silence: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    silence.map(fraction).serialize(serializer)
}

fn one_as_seconds<S: Serializer>(silence: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(fraction(*silence))
}
