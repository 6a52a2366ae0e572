use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::cause::{Confidence, Direction, Sender};
use crate::event::{Event, Follows, Role, TimeoutCandidate};
use crate::testing::sample;
use crate::timing::Timer;

fn candidate(seconds: u32, who: &str) -> TimeoutCandidate {
    TimeoutCandidate { seconds, who: who.into() }
}

fn event(cause: Cause, direction: Direction, role: Role) -> Event {
    let sender = if direction == Direction::Sent { Sender::LocalKernel } else { Sender::Peer };
    Event { role, ..sample::event(direction, cause, sender, Confidence::Likely) }
}

fn seen(ms: u64) -> Option<Timer> {
    Some(Timer { after: Duration::from_millis(ms), exact: true })
}

#[track_caller]
fn check(event: &Event, timer: Option<Timer>, expect: &Expect) {
    expect.assert_eq(&advice(event, timer).unwrap_or_default());
}

#[test]
fn the_measured_timeout_comes_before_known_ones() {
    use Direction::{Received, Sent};
    let mut reaped = event(Cause::IdleReaped, Received, Role::Client);
    reaped.idle_ms = Some(61_240);
    check(
        &reaped,
        seen(60_010),
        &expect![
            "keep pooled connections idle for less than 60.0 s (the timeout that was seen here); retry idempotent requests once"
        ],
    );
    reaped.timeout_candidates = vec![candidate(60, "AWS ALB"), candidate(60, "AWS Classic Load Balancer")];
    check(
        &reaped,
        seen(60_010),
        &expect![
            "keep pooled connections idle for less than 60.0 s (the timeout that was seen here; candidates: AWS ALB 60, AWS Classic Load Balancer 60); retry idempotent requests once"
        ],
    );
    check(
        &reaped,
        Some(Timer { after: Duration::from_millis(61_240), exact: false }),
        &expect![
            "keep pooled connections idle for less than 61.2 s (the idle time that was fatal here; the timeout may be shorter; candidates: AWS ALB 60, AWS Classic Load Balancer 60); retry idempotent requests once"
        ],
    );
    check(
        &reaped,
        None,
        &expect![
            "keep pooled connections idle for less than 61.2 s (the idle time that was fatal here; the timeout may be shorter; candidates: AWS ALB 60, AWS Classic Load Balancer 60); retry idempotent requests once"
        ],
    );
    reaped.timeout_candidates.clear();
    reaped.idle_ms = None;
    check(
        &reaped,
        None,
        &expect!["keep pooled connections idle for less than every hop's timeout; retry idempotent requests once"],
    );
    // A server that is being stopped closes its idle connections at any time.
    let mut redis = event(Cause::IdleReaped, Sent, Role::Server);
    redis.idle_ms = Some(4_100);
    check(
        &redis,
        seen(3_500),
        &expect![
            "if a timer ended it: have clients keep pooled connections idle for less than 3.5 s (the timeout that was seen here); retry idempotent requests once"
        ],
    );
    let mut device = event(Cause::MiddleboxIdle, Received, Role::Client);
    check(&device, None, &expect!["set TCP keepalive below the device's idle timeout, or raise that timeout"]);
    device.idle_ms = Some(400_000);
    device.timeout_candidates = vec![candidate(350, "AWS NLB")];
    check(
        &device,
        None,
        &expect![
            "set TCP keepalive below 400.0 s (the idle time that was fatal here; the timeout may be shorter; candidates: AWS NLB 350), or raise that timeout"
        ],
    );
}

/// Only a client has a pool, and only the end that did not close may have used the connection too late.
#[test]
fn advice_on_idle_timeouts_depends_on_the_end() {
    use Direction::{Received, Sent};
    for (direction, role, expect) in [
        (
            Sent,
            Role::Server,
            expect![
                "have clients keep pooled connections idle for less than 3.0 s (the timeout that was seen here); retry idempotent requests once"
            ],
        ),
        (
            Sent,
            Role::Client,
            expect![
                "have the server send again within 3.0 s (the timeout that was seen here), or keep idle connections open for longer here"
            ],
        ),
        (
            Sent,
            Role::Unknown,
            expect![
                "have clients keep pooled connections idle for less than 3.0 s (the timeout that was seen here); retry idempotent requests once"
            ],
        ),
        (
            Received,
            Role::Server,
            expect![
                "send again within 3.0 s (the timeout that was seen here), or have the client keep idle connections open for longer"
            ],
        ),
        (
            Received,
            Role::Client,
            expect![
                "keep pooled connections idle for less than 3.0 s (the timeout that was seen here); retry idempotent requests once"
            ],
        ),
        (
            Received,
            Role::Unknown,
            expect![
                "keep pooled connections idle for less than 3.0 s (the timeout that was seen here); retry idempotent requests once"
            ],
        ),
    ] {
        check(&event(Cause::IdleReaped, direction, role), seen(3_000), &expect);
        let text = advice(&event(Cause::IdleReaped, direction, role), None).expect("advice");
        assert!(text.contains("timeout") && !text.contains('('), "{text}");
    }
}

#[test]
fn advice_on_refusals_names_the_server() {
    check(
        &event(Cause::Refused, Direction::Received, Role::Client),
        None,
        &expect![
            "check that a server listens on 10.0.7.12:5432, and that no firewall rejects; else correct the address or port"
        ],
    );
    let mut undecided = event(Cause::Refused, Direction::Received, Role::Client);
    undecided.decide = Some("ss -Hltn on 10.0.7.12 would tell".into());
    check(
        &undecided,
        None,
        &expect!["start the server, permit the traffic if a firewall rejects it, or correct the address or port"],
    );
    check(
        &event(Cause::Refused, Direction::Sent, Role::Server),
        None,
        &expect!["start a server on 10.0.3.41:48732, or have clients use the right address and port"],
    );
}

/// Whichever candidate it was.
#[test]
fn a_victim_is_told_what_it_can_change_itself() {
    let mut abort = event(Cause::PeerAbort, Direction::Received, Role::Client);
    abort.candidates = [Cause::UnreadData, Cause::LingerAbort].into();
    abort.decide = Some("rstwatch on 10.0.7.12 would tell".into());
    assert_eq!(advice(&abort, None), None, "what would decide is the next step");
    abort.unread_bytes = Some(0);
    assert_eq!(advice(&abort, None), None);
    let mut stuck = abort.clone();
    stuck.unread_bytes = Some(126_976);
    check(
        &stuck,
        None,
        &expect!["if the peer limits what waits for slow readers, as brokers do: read faster, or raise that limit"],
    );
    let mut closed = event(Cause::NoSuchConnection, Direction::Received, Role::Client);
    (closed.candidates, closed.decide) = ([Cause::DataAfterClose, Cause::ProcessDied].into(), abort.decide.clone());
    assert_eq!(advice(&closed, None), None);
    closed.state = Some("CLOSE_WAIT");
    check(
        &closed,
        None,
        &expect!["where a read returns end of file, open a new connection instead of writing to this one"],
    );
    closed.role = Role::Server;
    assert_eq!(advice(&closed, None), None, "a server cannot connect again");
    let candidates = [Cause::FirewallReject, Cause::MiddleboxInjected].into();
    let mut injected =
        Event { cause: Cause::MiddleboxInjected, sender: Sender::Middlebox, candidates, ..abort.clone() };
    assert_eq!(advice(&injected, None).as_deref(), Some(Cause::MiddleboxInjected.entry().fix));
    injected.sender = Sender::Unknown;
    assert_eq!(advice(&injected, None), None, "it may have been the peer");
    abort.unread_bytes = Some(26);
    check(&abort, None, &expect!["read on after the error: what has arrived before the reset can still be read"]);
}

/// The end that reset the connection is told what to change; its victim is not.
#[test]
fn advice_is_for_the_right_end() {
    use Direction::{Received, Sent};
    let mut all = String::new();
    for (cause, direction, role) in [
        (Cause::UnreadData, Sent, Role::Server),
        (Cause::UnreadData, Received, Role::Client),
        (Cause::UnreadData, Received, Role::Server),
        (Cause::UnreadData, Received, Role::Unknown),
        (Cause::DataAfterClose, Sent, Role::Server),
        (Cause::DataAfterClose, Received, Role::Client),
        (Cause::NoSuchConnection, Sent, Role::Unknown),
        (Cause::NoSuchConnection, Received, Role::Client),
    ] {
        _ = writeln!(all, "{direction} {role:?}: {}", advice(&event(cause, direction, role), None).unwrap_or_default());
    }
    expect![[r#"
        sent Server: read the request or response to its end before close(), on error paths too
        received Client: find out why the server stopped reading: a limit, a timeout, a cancelled request; its last message may say
        received Server: find out why the client stopped reading: a limit, a timeout, a cancelled request; its last message may say
        received Unknown: find out why the peer stopped reading: a limit, a timeout, a cancelled request; its last message may say
        sent Server: keep reading until the client's FIN before close(); let the sender stop first
        received Client: find out why the server closed while this end still sent: an early response, a timeout, a cancelled request
        sent Unknown: look for a restart or failover of this host, or a NAT or load balancer that misdirected the segment
        received Client: look for a restart or failover of the server, or a NAT that lost its mapping
    "#]].assert_eq(&all);
    for entry in TABLE {
        for role in [Role::Client, Role::Server, Role::Unknown] {
            let victim = advice(&event(entry.cause, Received, role), None).unwrap_or_default();
            assert!(!victim.contains("close()"), "{}: {victim}", entry.cause);
            let resetter = advice(&event(entry.cause, Sent, role), None).unwrap_or_default();
            assert!(!resetter.contains("of the peer"), "{}: {resetter}", entry.cause);
            let both = [victim, resetter];
            assert!(role == Role::Unknown || both.iter().all(|it| !it.contains("the peer")), "{both:?}");
            let pool = both.iter().filter(|it| role == Role::Server && it.contains("pool"));
            assert!(pool.into_iter().all(|it| it.starts_with("have clients")), "{both:?}");
        }
    }
}

/// A local firewall's RST is received here, but the rule is here too; and if the sender is unknown, the direction decides.
#[test]
fn the_sender_decides_which_end_it_was() {
    for (direction, sender, here) in [
        (Direction::Received, Sender::LocalFirewall, true),
        (Direction::Received, Sender::Middlebox, false),
        (Direction::Received, Sender::Unknown, false),
        (Direction::Sent, Sender::Unknown, true),
    ] {
        let event = sample::event(direction, Cause::FirewallReject, sender, Confidence::Likely);
        let entry = Cause::FirewallReject.entry();
        let expected = if here { entry.fix } else { entry.fix_peer };
        assert_eq!(advice(&event, None).as_deref(), Some(expected), "{direction} {sender}");
    }
}

/// A late segment's reset is sent here, but who had ended the connection must change something.
#[test]
fn advice_on_a_late_segment_is_for_the_end_that_had_ended_the_connection() {
    let mut all = String::new();
    for sender in [Sender::Peer, Sender::Middlebox, Sender::LocalFirewall, Sender::Unknown] {
        for cause in [Cause::UnreadData, Cause::FirewallReject, Cause::IdleReaped] {
            let mut late = event(cause, Direction::Sent, Role::Client);
            late.follows = Some(Follows::Rst { sender });
            _ = writeln!(all, "{sender}: {}", advice(&late, None).unwrap_or_default());
        }
    }
    expect![[r#"
        peer: find out why the server stopped reading: a limit, a timeout, a cancelled request; its last message may say
        peer: find the rule, on the server's host or a firewall on the path, and permit the traffic, or leave it rejected
        peer: keep pooled connections idle for less than every hop's timeout; retry idempotent requests once
        middlebox: find out why the server stopped reading: a limit, a timeout, a cancelled request; its last message may say
        middlebox: find the rule, on the server's host or a firewall on the path, and permit the traffic, or leave it rejected
        middlebox: keep pooled connections idle for less than every hop's timeout; retry idempotent requests once
        local_firewall: read the request or response to its end before close(), on error paths too
        local_firewall: find the rule (nft list ruleset, iptables-save -c) and permit the traffic, or leave it rejected
        local_firewall: have the server send again within this client's idle timeout, or keep idle connections open for longer here
        unknown: find out why the server stopped reading: a limit, a timeout, a cancelled request; its last message may say
        unknown: find the rule, on the server's host or a firewall on the path, and permit the traffic, or leave it rejected
        unknown: keep pooled connections idle for less than every hop's timeout; retry idempotent requests once
    "#]].assert_eq(&all);
}

/// Neither ports nor routes are at fault.
#[test]
fn advice_on_giving_up_is_about_the_connect_timeout() {
    let mut given_up = event(Cause::InvalidHandshake, Direction::Sent, Role::Client);
    given_up.follows = Some(Follows::GivingUp { ago_ms: 250 });
    check(
        &given_up,
        None,
        &expect![
            "raise the connect timeout here: the server's answer came 250 ms after it; or find out why the server or the path is slow"
        ],
    );
}

#[test]
fn every_entry_is_complete() {
    for entry in TABLE {
        let cause = entry.cause;
        assert!(!entry.brief.is_empty() && entry.brief.len() <= 80, "{cause}: brief");
        assert!(entry.means.len() > 60 && entry.means.ends_with('.'), "{cause}: means");
        assert!(!entry.confirm.is_empty(), "{cause}: confirm");
        for fix in [entry.fix, entry.fix_peer] {
            assert!(fix.len() <= 110 && !fix.ends_with('.'), "{cause}: fix is one short line");
        }
        assert!(!entry.fix.is_empty() || entry.benign || cause == Cause::Unknown, "{cause}: fix");
        assert!(!entry.fix.is_empty() || entry.fix_peer.is_empty(), "{cause}: fix_peer without fix");
        assert!(!entry.phrase.is_empty() && entry.phrase.len() <= 50, "{cause}: phrase");
        assert!(!entry.phrase.contains([',', '.']), "{cause}: a phrase is part of a list");
        assert!(!entry.covers.contains(&cause), "{cause}: covers itself");
    }
}

#[test]
fn the_list_has_a_line_for_each_cause() {
    let list = list();
    assert_eq!(list.lines().count(), Cause::ALL.len());
    assert!(list.lines().all(|line| line.len() <= 100), "{list}");
    assert!(list.starts_with("refused             RST answered a SYN"), "{list}");
}

#[test]
fn the_text_of_one_cause() {
    expect![[r#"
        unread_data: close() with received data unread

        Meaning
          The application closed the socket before it had read all received data. To
          tell the peer that data was lost, the stack sends an RST instead of a FIN
          (RFC 9293 section 3.6.1). A typical case is an early error response to a
          large upload.

        Confirm
          - unread_bytes in the events
              rstwatch trace --cause unread_data --json
          - which code path closes early: size limits, authentication failures,
            timeouts

        Fix
          - at the end that sent the RST: read the request or response to its end
            before close(), on error paths too
          - at the other end: find out why the peer stopped reading: a limit, a
            timeout, a cancelled request; its last message may say
          - Servers that reject uploads: call shutdown(SHUT_WR), drain for a bounded
            time, then close.
          - Clients with large uploads: send Expect: 100-continue.
          - Clients: read the whole response body before returning the connection to
            its pool.
    "#]]
    .assert_eq(&text(Cause::UnreadData));
    for cause in Cause::ALL {
        let text = text(*cause);
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
    }
}

/// docs/causes.md, from the table: `UPDATE_EXPECT=1 cargo test the_page_of_causes` writes it.
#[test]
fn the_page_of_causes_follows_the_table() {
    let mut page = "# Causes\n\n\
        <!-- Written by a test from the table of causes: UPDATE_EXPECT=1 cargo test the_page_of_causes. Do not edit. -->\n\n\
        `rstwatch explain` prints this table, and `rstwatch explain CAUSE` one section.\n\n\
        | cause | what happened |\n|---|---|\n"
        .to_owned();
    for Entry { cause, brief, .. } in TABLE {
        _ = writeln!(page, "| [`{cause}`](#{cause}) | {brief} |");
    }
    page.extend(TABLE.iter().map(section));
    expect_test::expect_file!["../../../docs/causes.md"].assert_eq(&page);
}

fn section(entry: &Entry) -> String {
    let Entry { cause, means, confirm, fix_more, .. } = entry;
    let mut section = format!("\n## {cause}\n\n{}\n**Confirm**\n\n", wrap(means, "", 120));
    for (look, run) in *confirm {
        let run = if run.is_empty() { String::new() } else { format!(": `{run}`") };
        _ = writeln!(section, "- {look}{run}");
    }
    section += "\n**Fix**\n\n";
    let more = fix_more.iter().map(|fix| (*fix).to_owned());
    for fix in entry.fixes().into_iter().chain(more) {
        _ = writeln!(section, "- {fix}");
    }
    section
}
