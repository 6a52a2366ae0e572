//! The type of a row: what it makes, and what is true of each reset. The rows themselves are beside their scenarios, in [`super`].

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
pub(crate) const BOTH: &[Family] = &[V4, V6];

/// SYNs of row 11.
pub(crate) const FLOOD: u64 = 300;

/// Why one end alone cannot name the cause: the peer aborted.
pub(crate) const LIVE_SOCKET: &str = "an RST of a live socket: neither the packet nor any field of this end's socket shows \
    which call, signal, limit or timer of the peer sent it";
/// Why one end alone cannot name the cause: the peer's stack answered.
pub(crate) const BARE: &str =
    "a bare RST: it shows that the stack which answered does not know the connection, not why";
/// Why one end alone cannot name the cause: the RST answers a SYN.
pub(crate) const REFUSED_ALIKE: &str = "a reject of a SYN and a closed port send the same packet";
/// Why one end alone cannot name the cause: the abort and the answer to a later segment raced.
pub(crate) const EITHER_FIRST: &str = "first comes the RST of the abort, which looks the same for any abort, or the bare RST \
    that answers a later segment";
/// Why one end alone cannot name the cause: a device answered a segment.
pub(crate) const ON_PATH: &str =
    "from the ends, a reject on the path, the answer of a router's own stack and an injected RST look the same";
/// Why one end alone cannot name the sender or the cause: the RST has the peer's TTL and numbers.
pub(crate) const PEERS_SHAPE: &str = "the peer and a forger that knows its TTL and numbers can send this same packet: stacks \
    other than Linux's leave out timestamps, a peer answers a challenge ACK with such an RST, one that has lost the \
    connection answers an ACK with it, and a measured round trip can be longer than the path's";
/// `recursion_misses` of `bpf_prog_info` came with this version.
const MISSES: (u32, u32) = (5, 12);
/// Why the silence of the other end proves nothing there.
const UNCOUNTED: &str = "without the kernel's count of program runs that it skipped (before Linux 5.12), a host that \
    recorded no RST may have sent one";
/// Why one end alone cannot name the cause: the peer sent a FIN before.
pub(crate) const A_FIN: &str = "the FIN of a program that closes is that of a program that dies";

/// Why no evidence can name the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Why {
    /// Where only one end is watched.
    pub(crate) one_end: Option<&'static str>,
    /// Wherever the agent runs, on kernels before this version.
    pub(crate) before: Option<((u32, u32), &'static str)>,
}

impl Why {
    pub(crate) fn reasons(self) -> impl Iterator<Item = &'static str> {
        self.one_end.into_iter().chain(self.before.map(|(_, reason)| reason))
    }
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
    /// As named where the sender's host is watched; see [`Want::sender_seen`].
    pub(crate) sender: &'static str,
    /// The host on which the firewall rule is that sent it.
    pub(crate) rule: Option<Host>,
    pub(crate) why: Why,
    pub(crate) visibility: Visibility,
    /// The verdict must be certain on kernels that give reasons.
    pub(crate) sure: bool,
    pub(crate) times: Times,
}

impl Want {
    /// One end alone cannot name the cause, for this reason.
    pub(crate) const fn why(self, reason: &'static str) -> Self {
        Self { why: Why { one_end: Some(reason), ..self.why }, ..self }
    }

    /// Kernels before this version cannot name the cause, for this reason.
    pub(crate) const fn why_before(self, version: (u32, u32), reason: &'static str) -> Self {
        Self { why: Why { before: Some((version, reason)), ..self.why }, ..self }
    }

    /// No kernel can name the cause, for this reason.
    pub(crate) const fn why_everywhere(self, reason: &'static str) -> Self {
        self.why_before((u32::MAX, 0), reason)
    }

    /// The true sender in the words of an agent that watches the sender's host too, or not. A rule of a host that is not
    /// watched belongs to the peer, or to a device on the path.
    pub(crate) fn sender_seen(&self, sender_is_watched: bool) -> &'static str {
        match self.rule {
            Some(host) if host != self.at && !sender_is_watched => {
                if host == R {
                    MIDDLEBOX
                } else {
                    PEER
                }
            }
            _ => self.sender,
        }
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
        rule: None,
        why: Why { one_end: None, before: None },
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

/// The receipt of an RST that a device forged with the peer's own TTL and numbers.
pub(crate) const fn imitated(at: Host) -> Want {
    received(at, "middlebox_injected", MIDDLEBOX).why(PEERS_SHAPE).why_before(MISSES, UNCOUNTED)
}

/// The receipt of an RST that a firewall rule on this host sent.
pub(crate) const fn rejected(at: Host, cause: &'static str, rule: Host) -> Want {
    Want { rule: Some(rule), ..want("received", at, cause, FIREWALL) }
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
    fn every_reason_is_given() {
        for want in rows().flat_map(|row| row.wants) {
            assert!(want.why.reasons().all(|reason| !reason.is_empty()), "{want:?}");
        }
    }

    #[test]
    fn an_unwatched_rule_belongs_to_the_peer_or_a_device() {
        let cases = [(C, [FIREWALL, FIREWALL]), (R, [MIDDLEBOX, FIREWALL]), (S, [PEER, FIREWALL])];
        for (rule, senders) in cases {
            assert_eq!([false, true].map(|watched| rejected(C, "", rule).sender_seen(watched)), senders);
        }
        assert_eq!(received(C, "", PEER).sender_seen(false), PEER);
    }

    #[test]
    fn a_sent_reset_names_its_own_host() {
        for want in rows().flat_map(|row| row.wants) {
            let is_local = want.sender.starts_with("local_");
            assert_eq!(is_local, want.direction == "sent" || want.rule.is_some(), "{want:?}");
        }
    }

    #[test]
    fn has_at_least_sixty_variants() {
        assert!(rows().map(|row| row.families.len()).sum::<usize>() >= 60);
    }
}
