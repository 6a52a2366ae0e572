//! What a row is: what it makes, what is true of it, and what may be said of it from
//! where. The rows themselves stand with their scenarios, in [`super::rows`].

use anyhow::Result;

use super::place::Family::{self, V4, V6};
use super::place::Place;
use super::rows::Scene;

pub(super) use super::place::Place::{Client as C, Rebooted as S2, Router as R, Server as S};

pub(super) const APP: &str = "local_app";
pub(super) const KERNEL: &str = "local_kernel";
pub(super) const FIREWALL: &str = "local_firewall";
pub(super) const PEER: &str = "peer";
pub(super) const MIDDLEBOX: &str = "middlebox";
/// The evidence does not tell who.
pub(super) const NOBODY: &str = "unknown";
pub(super) const BOTH: &[Family] = &[V4, V6];

/// SYNs of row 11.
pub(super) const FLOOD: u64 = 300;

/// A verdict that is right as seen from somewhere, though it is not the whole truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alike {
    pub(super) cause: &'static str,
    pub(super) sender: &'static str,
    /// Why no more can be known there.
    pub(super) why: &'static str,
}

pub(super) const fn like(cause: &'static str, sender: &'static str, why: &'static str) -> Alike {
    Alike { cause, sender, why }
}

/// What a kernel must offer for the event to be seen at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Always,
    /// Firewalls make RSTs without the stack. Kernels that refuse `nf_send_reset` leave
    /// only dropped segments to go by, which tell a reject where a socket receives it.
    Rejects,
    /// RSTs without a socket, or of a TIME_WAIT one: not traced before Linux 6.10.
    NoSocket,
}

/// How many events there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    /// One or more: what is under way when a connection ends draws resets of its own.
    Some,
    /// None or more.
    Any,
}

/// One expected event, and its truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) direction: &'static str,
    pub(super) at: Place,
    pub(super) cause: &'static str,
    pub(super) sender: &'static str,
    /// Right for who sees this end only.
    pub(super) alone: &'static [Alike],
    /// Right from anywhere.
    pub(super) also: &'static [Alike],
    pub(super) sight: Sight,
    /// The kernel tells, where it gives reasons: the verdict must be certain.
    pub(super) sure: bool,
    pub(super) times: Times,
}

impl Want {
    pub(super) const fn alone(self, alone: &'static [Alike]) -> Self {
        Self { alone, ..self }
    }

    pub(super) const fn also(self, also: &'static [Alike]) -> Self {
        Self { also, ..self }
    }

    pub(super) const fn rejects(self) -> Self {
        Self { sight: Sight::Rejects, ..self }
    }

    pub(super) const fn no_socket(self) -> Self {
        Self { sight: Sight::NoSocket, ..self }
    }

    pub(super) const fn sure(self) -> Self {
        Self { sure: true, ..self }
    }

    pub(super) const fn some(self) -> Self {
        Self { times: Times::Some, ..self }
    }

    pub(super) const fn any(self) -> Self {
        Self { times: Times::Any, ..self }
    }
}

const fn want(direction: &'static str, at: Place, cause: &'static str, sender: &'static str) -> Want {
    Want { direction, at, cause, sender, alone: &[], also: &[], sight: Sight::Always, sure: false, times: Times::Once }
}

pub(super) const fn sent(at: Place, cause: &'static str, sender: &'static str) -> Want {
    want("sent", at, cause, sender)
}

pub(super) const fn received(at: Place, cause: &'static str, sender: &'static str) -> Want {
    want("received", at, cause, sender)
}

/// One scenario.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) families: &'static [Family],
    /// Programs without which the row is skipped; `ip` and `nft` are taken for granted.
    pub(super) needs: &'static [&'static str],
    /// What else stands in its way here, in words; the row is skipped then.
    pub(super) unless: fn(&Scene) -> Option<String>,
    pub(super) make: fn(&Scene) -> Result<()>,
    /// How far `TcpOutRsts` moves, by place.
    pub(super) rsts: &'static [(Place, u64)],
    /// It moves at least so far: how much was under way is up to chance.
    pub(super) more: bool,
    /// How many packets its reject rule answers.
    pub(super) rejects: u64,
    /// More resets than a watcher has to print one by one; the agent's metrics must have
    /// counted every one.
    pub(super) flood: bool,
    pub(super) wants: &'static [Want],
}

/// What most rows have in common.
pub(super) const BASE: Row = Row {
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
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    super::rows::FAMILIES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let ids: BTreeSet<&str> = rows().map(|row| row.id).collect();
        assert_eq!(ids.len(), rows().count());
        assert!(rows().all(|row| !row.id.is_empty() && !row.what.is_empty()));
    }

    #[test]
    fn every_equivalence_says_why() {
        let alikes = rows().flat_map(|row| row.wants).flat_map(|want| want.alone.iter().chain(want.also));
        assert!(alikes.into_iter().all(|alike| !alike.why.is_empty()));
    }

    #[test]
    fn there_are_sixty_variants_at_least() {
        assert!(rows().map(|row| row.families.len()).sum::<usize>() >= 60);
    }
}
