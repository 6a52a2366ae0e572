//! A verdict with several candidates, as prose: who ended the connection, and in which ways it may have happened.

use crate::cause::{Cause, Sender};

/// The candidates as one clause, in their order, without a final stop; empty if there are none.
///
/// For example "the peer ended it: data left unread, an abort on purpose, or its process died".
pub fn reads(sender: Sender, candidates: &[Cause]) -> String {
    let phrases: Vec<_> = candidates.iter().map(|cause| cause.entry().phrase).collect();
    match phrases[..] {
        [] => String::new(),
        _ => format!("{} ended it: {}", subject(sender), alternatives(&phrases)),
    }
}

fn subject(sender: Sender) -> &'static str {
    match sender {
        Sender::LocalApp | Sender::LocalKernel => "this host",
        Sender::LocalFirewall => "this host's firewall",
        Sender::Peer => "the peer",
        Sender::Middlebox => "a device on the path",
        Sender::Unknown => "the peer or a device on the path",
    }
}

/// `a`, `a or b`, `a, b, or c`.
fn alternatives(phrases: &[&str]) -> String {
    match phrases {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [one, other] => format!("{one} or {other}"),
        [first @ .., last] => format!("{}, or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(sender: Sender, candidates: &[Cause], expect: &Expect) {
        expect.assert_eq(&reads(sender, candidates));
    }

    #[test]
    fn candidates_read_as_a_sentence() {
        use Cause::*;
        use Sender::{LocalKernel, Middlebox, Peer, Unknown as UnknownSender};
        check(Peer, &[], &expect![""]);
        check(Peer, &[UnreadData], &expect!["the peer ended it: data left unread"]);
        check(
            Peer,
            &[LingerAbort, KeepaliveTimeout],
            &expect!["the peer ended it: an abort on purpose or its keepalives went unanswered"],
        );
        check(
            Peer,
            &[UnreadData, LingerAbort, ProcessDied],
            &expect!["the peer ended it: data left unread, an abort on purpose, or its process died"],
        );
        check(
            Peer,
            &[IdleReaped, ProcessDied, ListenOverflow, NoSuchConnection],
            &expect![
                "the peer ended it: an idle timer, its process died, a full accept queue, or a restart or lost NAT mapping"
            ],
        );
        check(
            Peer,
            &[ListenerClosed, UnreadData, AdminAbort, ResourceLimit, DataAfterClose],
            &expect![
                "the peer ended it: its listener stopped, data left unread, its socket was destroyed from outside, its TCP memory limit, or a close while data still arrived"
            ],
        );
        check(
            Middlebox,
            &[MiddleboxIdle, FirewallReject, ConntrackFull],
            &expect![
                "a device on the path ended it: an expired NAT or firewall entry, a firewall rule, or a full conntrack table"
            ],
        );
        check(
            UnknownSender,
            &[MiddleboxInjected, MiddleboxIdle, IdleReaped],
            &expect![
                "the peer or a device on the path ended it: an RST injected on the path, an expired NAT or firewall entry, or an idle timer"
            ],
        );
        check(
            LocalKernel,
            &[IdleReaped, DataAfterClose],
            &expect!["this host ended it: an idle timer or a close while data still arrived"],
        );
    }

    /// Whatever the rules leave over, the order is kept and every candidate is named once.
    #[test]
    fn every_candidate_is_named_in_order() {
        let text = reads(Sender::Peer, Cause::ALL);
        let mut rest = text.as_str();
        for cause in Cause::ALL {
            let at = rest.find(cause.entry().phrase).unwrap_or_else(|| panic!("{cause} in {text}"));
            rest = &rest[at + cause.entry().phrase.len()..];
        }
        let mut phrases: Vec<_> = Cause::ALL.iter().map(|cause| cause.entry().phrase).collect();
        phrases.sort_unstable();
        phrases.dedup();
        assert_eq!(phrases.len(), Cause::ALL.len(), "no two causes have the same phrase");
    }
}
