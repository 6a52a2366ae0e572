//! A verdict with several candidates, as prose: who ended the connection, and in which ways it may have happened.

use crate::cause::{Cause, Direction, Sender};
use crate::event::Event;

/// The candidates as one clause, in their order, without a final stop; `None` if only one remains.
///
/// For example "the peer ended it: most plausibly data left unread, else an abort on purpose, or its process died".
pub(crate) fn reads(event: &Event) -> Option<String> {
    // A refusal ends no connection, and its evidence names what remains. A segment that arrives after the other end's RST
    // is answered here, but was ended there: nothing here would decide.
    let ended = event.cause != Cause::Refused && (event.direction == Direction::Received || event.decide.is_some());
    (ended && event.candidates.len() > 1).then(|| clause(event.cause, event.sender, &event.candidates))
}

fn clause(cause: Cause, sender: Sender, candidates: &[Cause]) -> String {
    let phrases: Vec<_> = candidates.iter().map(|cause| cause.entry().phrase).collect();
    let did = if cause == Cause::NoSuchConnection { "does not know the connection" } else { "ended it" };
    format!("{} {did}: {}", subject(sender), alternatives(&phrases))
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

/// `a`, `a or b`, `most plausibly a, else b, c, or d`.
fn alternatives(phrases: &[&str]) -> String {
    match phrases {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [one, other] => format!("{one} or {other}"),
        [first, others @ .., last] => format!("most plausibly {first}, else {}, or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    use crate::cause::Confidence;
    use crate::testing::sample;

    #[track_caller]
    fn check(cause: Cause, sender: Sender, candidates: &[Cause], expect: &Expect) {
        expect.assert_eq(&clause(cause, sender, candidates));
    }

    #[test]
    fn candidates_read_as_a_sentence() {
        use Cause::*;
        use Sender::{LocalKernel, Middlebox, Peer, Unknown as UnknownSender};
        check(
            PeerAbort,
            Peer,
            &[LingerAbort, KeepaliveTimeout],
            &expect!["the peer ended it: an abort on purpose or its keepalives went unanswered"],
        );
        check(
            PeerAbort,
            Peer,
            &[UnreadData, LingerAbort, ProcessDied],
            &expect![
                "the peer ended it: most plausibly data left unread, else an abort on purpose, or its process died"
            ],
        );
        check(
            PeerAbort,
            Peer,
            &[ListenerClosed, UnreadData, AdminAbort, ResourceLimit, DataAfterClose],
            &expect![
                "the peer ended it: most plausibly its listener stopped, else data left unread, its socket was destroyed from outside, its TCP memory limit, or a close while data was on its way"
            ],
        );
        check(
            NoSuchConnection,
            Peer,
            &[IdleReaped, ProcessDied, ListenOverflow, NatUntranslated],
            &expect![
                "the peer does not know the connection: most plausibly an idle timer, else its process died, a full accept queue, or a reply whose translation was not undone"
            ],
        );
        check(
            NoSuchConnection,
            LocalKernel,
            &[IdleReaped, DataAfterClose],
            &expect!["this host does not know the connection: an idle timer or a close while data was on its way"],
        );
        check(
            NoSuchConnection,
            UnknownSender,
            &[DataAfterClose, MiddleboxInjected],
            &expect![
                "the peer or a device on the path does not know the connection: a close while data was on its way or an RST injected on the path"
            ],
        );
        check(
            MiddleboxInjected,
            Middlebox,
            &[MiddleboxIdle, FirewallReject, ConntrackFull],
            &expect![
                "a device on the path ended it: most plausibly an expired NAT or firewall entry, else a firewall rule, or a full conntrack table"
            ],
        );
        check(
            MiddleboxInjected,
            UnknownSender,
            &[MiddleboxInjected, MiddleboxIdle, NoSuchConnection],
            &expect![
                "the peer or a device on the path ended it: most plausibly an RST injected on the path, else an expired NAT or firewall entry, or a restart or lost NAT mapping"
            ],
        );
    }

    #[test]
    fn only_what_remains_open_is_said() {
        let several = |direction, cause, decide: Option<&str>| {
            let mut event = sample::event(direction, cause, Sender::Peer, Confidence::Likely);
            event.candidates = [Cause::IdleReaped, Cause::DataAfterClose].into();
            event.decide = decide.map(Into::into);
            event
        };
        let received = several(Direction::Received, Cause::NoSuchConnection, None);
        assert!(reads(&received).is_some());
        assert_eq!(reads(&Event { candidates: [Cause::IdleReaped].into(), ..received }), None);
        assert_eq!(reads(&several(Direction::Received, Cause::Refused, None)), None);
        assert!(reads(&several(Direction::Sent, Cause::NoSuchConnection, Some("the log would tell"))).is_some());
        assert_eq!(reads(&several(Direction::Sent, Cause::PeerAbort, None)), None, "the other end ended it");
    }

    /// Whatever the rules leave over, the order is kept and every candidate is named once.
    #[test]
    fn every_candidate_is_named_in_order() {
        let text = clause(Cause::PeerAbort, Sender::Peer, Cause::ALL);
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
