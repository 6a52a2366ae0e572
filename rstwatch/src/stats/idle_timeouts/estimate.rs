//! What is known about one destination's idle timeout, in words and in numbers.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Destination, slack};
use rstwatch_verdict::event::{Role, TimeoutCandidate};
use rstwatch_verdict::known_timeouts::{self, Closer};
use rstwatch_verdict::text::{fraction, length};

/// The idle timeout of a destination, as two bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdleTimeout {
    /// The remote end.
    pub peer: SocketAddr,
    /// The bounds in words.
    pub timeout: String,
    /// The longest idle period that a connection survived.
    #[serde(rename = "survived_seconds", serialize_with = "as_seconds")]
    pub survived: Option<Duration>,
    /// How many idle periods were survived.
    #[serde(rename = "survived_count")]
    pub survivals: u64,
    /// The shortest idle period that ended a connection, and that no survived one refutes.
    pub died: Option<Died>,
    /// How many idle connections were reset.
    #[serde(rename = "reset_count")]
    pub resets: u64,
    /// How many idle connections the peer closed.
    #[serde(rename = "closed_count")]
    pub closes: u64,
    /// How many of both ended sooner than others survived, so not by a timeout.
    #[serde(rename = "refuted_count")]
    pub refuted: u64,
    /// The longest idle period after which a connection was used and found dead.
    #[serde(rename = "longest_use_seconds", serialize_with = "as_seconds")]
    pub longest_use: Option<Duration>,
    /// Well-known timeouts that fit.
    pub timeout_candidates: Vec<TimeoutCandidate>,
    /// When the destination was last seen.
    pub last_seen: Timestamp,
}

/// An idle period that ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Died {
    /// Its length.
    #[serde(rename = "seconds", serialize_with = "one_as_seconds")]
    pub after: Duration,
    /// The end itself was observed; otherwise the connection had ended by then.
    pub exact: bool,
    /// Several connections were reset after the same idle period, as by a timer.
    pub repeated: bool,
    /// A device on the path sent the reset.
    pub device: bool,
}

impl IdleTimeout {
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

    /// The candidates as text, such as `AWS ALB 60, nginx upstream keepalive 60`.
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

/// The bounds in words, rounded outwards.
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

/// An upper bound as text. It is rounded up, because a truncated time would claim too much.
fn text_up(bound: Duration) -> String {
    let up = if bound < Duration::from_secs(1) { Duration::ZERO } else { Duration::from_millis(99) };
    length(bound.saturating_add(up))
}

/// Well-known timeouts that fit. An observed end equals the timeout; otherwise the timeout is at most that long. A survived
/// idle period rules out shorter timeouts.
fn candidates(survived: Option<Duration>, died: Died) -> Vec<TimeoutCandidate> {
    // This host opened the connections, so the other end accepted them.
    let closer = if died.device { Closer::Device } else { Closer::Program { role: Role::Server, comm: None } };
    let find = if died.exact { known_timeouts::fitting } else { known_timeouts::exceeded_by };
    let mut found = find(died.after, Some(closer));
    let ruled_out = |timeout: Duration| survived.is_some_and(|survived| survived > timeout + slack(timeout));
    found.retain(|it| !ruled_out(Duration::from_secs(it.seconds.into())));
    found
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn as_seconds<S: Serializer>(idle: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    idle.map(fraction).serialize(serializer)
}

fn one_as_seconds<S: Serializer>(idle: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(fraction(*idle))
}
