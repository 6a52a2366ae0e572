//! The type of a row: what it makes, what is true, and which verdicts are right from which vantage point. The rows themselves are
//! beside their scenarios, in [`super`].

use std::time::Duration;

use anyhow::Result;

use crate::network::host::Family::{self, V4, V6};
use crate::network::host::Host;
use crate::rows::Scene;

pub(crate) use crate::network::host::Host::{Client as C, Rebooted as S2, Router as R, Server as S};

pub(crate) const APP: &str = "local_app";
pub(crate) const KERNEL: &str = "local_kernel";
pub(crate) const FIREWALL: &str = "local_firewall";
pub(crate) const PEER: &str = "peer";
pub(crate) const MIDDLEBOX: &str = "middlebox";
/// The evidence does not identify the sender.
pub(crate) const UNKNOWN_SENDER: &str = "unknown";
pub(crate) const BOTH: &[Family] = &[V4, V6];

/// SYNs of row 11.
pub(crate) const FLOOD: u64 = 300;

/// A verdict other than the truth that is right from some vantage point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alternative {
    pub(crate) cause: &'static str,
    pub(crate) sender: &'static str,
    /// Why that vantage point cannot show the truth.
    pub(crate) why: &'static str,
}

pub(crate) const fn alternative(cause: &'static str, sender: &'static str, why: &'static str) -> Alternative {
    Alternative { cause, sender, why }
}

/// What a kernel must offer so that the event is seen at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    Always,
    /// Firewalls send RSTs without the TCP stack. Where `nf_send_reset` cannot be hooked, a reject is only inferred from a
    /// dropped segment, if a socket receives the RST.
    Rejects,
    /// RSTs without a socket or from TIME_WAIT, which the tracepoint lacks before Linux 6.10.
    NoSocket,
}

/// The idle time before an operation or a reset, by the lab's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Minimum and maximum: the last payload came at an unknown time within one of the lab's own calls.
    Was(Duration, Duration),
    /// Traffic never paused, so an idle cause is wrong.
    Busy,
}

/// The number of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    /// One or more: packets in flight when a connection ends cause further resets.
    Some,
    /// Zero or more.
    Any,
}

/// One expected event, and its truth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) direction: &'static str,
    pub(crate) at: Host,
    pub(crate) cause: &'static str,
    pub(crate) sender: &'static str,
    /// Other verdicts that are right where only this end is watched.
    pub(crate) alone: &'static [Alternative],
    /// Other verdicts that are right everywhere.
    pub(crate) also: &'static [Alternative],
    pub(crate) visibility: Visibility,
    /// The verdict must be certain on kernels that give reasons.
    pub(crate) sure: bool,
    pub(crate) times: Times,
}

impl Want {
    pub(crate) const fn alone(self, alone: &'static [Alternative]) -> Self {
        Self { alone, ..self }
    }

    pub(crate) const fn also(self, also: &'static [Alternative]) -> Self {
        Self { also, ..self }
    }

    pub(crate) const fn rejects(self) -> Self {
        Self { visibility: Visibility::Rejects, ..self }
    }

    pub(crate) const fn no_socket(self) -> Self {
        Self { visibility: Visibility::NoSocket, ..self }
    }

    pub(crate) const fn sure(self) -> Self {
        Self { sure: true, ..self }
    }

    pub(crate) const fn some(self) -> Self {
        Self { times: Times::Some, ..self }
    }

    pub(crate) const fn any(self) -> Self {
        Self { times: Times::Any, ..self }
    }
}

const fn want(direction: &'static str, at: Host, cause: &'static str, sender: &'static str) -> Want {
    Want {
        direction,
        at,
        cause,
        sender,
        alone: &[],
        also: &[],
        visibility: Visibility::Always,
        sure: false,
        times: Times::Once,
    }
}

pub(crate) const fn sent(at: Host, cause: &'static str, sender: &'static str) -> Want {
    want("sent", at, cause, sender)
}

pub(crate) const fn received(at: Host, cause: &'static str, sender: &'static str) -> Want {
    want("received", at, cause, sender)
}

/// One scenario.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) families: &'static [Family],
    /// Programs without which the row is skipped; `ip` and `nft` are always required.
    pub(crate) needs: &'static [&'static str],
    /// Why the row has to be skipped here, if so.
    pub(crate) unless: fn(&Scene) -> Option<String>,
    pub(crate) make: fn(&Scene) -> Result<()>,
    /// Increase of `TcpOutRsts`, by host.
    pub(crate) rsts: &'static [(Host, u64)],
    /// The increase may be larger: the number of packets in flight varies.
    pub(crate) more: bool,
    /// Number of packets that its reject rule answers.
    pub(crate) rejects: u64,
    /// Too many resets for a watcher to print one by one; the agent's metrics must count every one.
    pub(crate) flood: bool,
    pub(crate) wants: &'static [Want],
}

/// Defaults for most rows.
pub(crate) const BASE: Row = Row {
    id: "",
    what: "",
    families: &[V4],
    needs: &[],
    unless: |_| None,
    make: |_| Ok(()),
    rsts: &[],
    more: false,
    rejects: 0,
    flood: false,
    wants: &[],
};

/// Every row, in the order in which they run.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    crate::rows::FAMILIES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn row_ids_are_unique() {
        let ids: BTreeSet<&str> = rows().map(|row| row.id).collect();
        assert_eq!(ids.len(), rows().count());
        assert!(rows().all(|row| !row.id.is_empty() && !row.what.is_empty()));
    }

    #[test]
    fn every_alternative_has_a_reason() {
        let alternatives = rows().flat_map(|row| row.wants).flat_map(|want| want.alone.iter().chain(want.also));
        assert!(alternatives.into_iter().all(|alternative| !alternative.why.is_empty()));
    }

    #[test]
    fn has_at_least_sixty_variants() {
        assert!(rows().map(|row| row.families.len()).sum::<usize>() >= 60);
    }
}
