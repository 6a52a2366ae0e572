use expect_test::{Expect, expect};

use super::*;
use crate::cause::{Confidence, Sender};
use crate::event::TimeoutCandidate;
use crate::testing::sample;

fn candidate(seconds: u32, who: &str) -> TimeoutCandidate {
    TimeoutCandidate { seconds, who: who.into() }
}

#[track_caller]
fn check(cause: Cause, direction: Direction, idle_ms: Option<u64>, candidates: &[TimeoutCandidate], expect: &Expect) {
    let mut event = sample::event(direction, cause, Sender::Peer, Confidence::Likely);
    event.idle_ms = idle_ms;
    event.timeout_candidates = candidates.to_vec();
    expect.assert_eq(&advice(&event, None).unwrap_or_default());
}

#[test]
fn advice_takes_its_numbers_from_the_event() {
    use Direction::{Received, Sent};
    let both = [candidate(60, "AWS ALB"), candidate(60, "nginx upstream")];
    check(
        Cause::IdleReaped,
        Received,
        Some(61_240),
        &both,
        &expect![
            "keep pooled connections idle for less than 60 s (candidates: AWS ALB 60, nginx upstream 60); retry idempotent requests once"
        ],
    );
    check(
        Cause::IdleReaped,
        Received,
        Some(43_210),
        &[],
        &expect![
            "keep pooled connections idle for less than 43.2 s (the idle time that was fatal here); retry idempotent requests once"
        ],
    );
    check(
        Cause::IdleReaped,
        Received,
        None,
        &[],
        &expect!["keep pooled connections idle for less than every hop's timeout; retry idempotent requests once"],
    );
    check(
        Cause::IdleReaped,
        Sent,
        Some(5_010),
        &[candidate(5, "Node http")],
        &expect![
            "have clients keep pooled connections idle for less than 5 s (candidates: Node http 5); retry idempotent requests once"
        ],
    );
    check(
        Cause::MiddleboxIdle,
        Received,
        Some(400_000),
        &[candidate(350, "AWS NLB")],
        &expect!["set TCP keepalive below 350 s (candidates: AWS NLB 350), or raise that timeout"],
    );
    check(
        Cause::MiddleboxIdle,
        Received,
        None,
        &[],
        &expect!["set TCP keepalive below the device's idle timeout, or raise that timeout"],
    );
    check(
        Cause::Refused,
        Received,
        None,
        &[],
        &expect!["start the server on 10.0.7.12:5432, or point the client at the right address and port"],
    );
    check(
        Cause::Refused,
        Sent,
        None,
        &[],
        &expect!["start the server on 10.0.3.41:48732, or point the client at the right address and port"],
    );
    check(Cause::Unknown, Received, None, &[], &expect![""]);
}

#[test]
fn every_entry_is_complete() {
    for entry in TABLE {
        let cause = entry.cause;
        assert!(!entry.brief.is_empty() && entry.brief.len() <= 80, "{cause}: brief");
        assert!(entry.means.len() > 60 && entry.means.ends_with('.'), "{cause}: means");
        assert!(!entry.confirm.is_empty(), "{cause}: confirm");
        assert!(entry.fix.len() <= 110 && !entry.fix.ends_with('.'), "{cause}: fix is one short line");
        assert!(!entry.fix.is_empty() || entry.benign || cause == Cause::Unknown, "{cause}: fix");
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
          - read the request or response to its end before close(), on error paths too
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

fn section(Entry { cause, means, confirm, fix, fix_more, .. }: &Entry) -> String {
    let mut section = format!("\n## {cause}\n\n{}\n**Confirm**\n\n", wrap(means, "", 120));
    for (look, run) in *confirm {
        let run = if run.is_empty() { String::new() } else { format!(": `{run}`") };
        _ = writeln!(section, "- {look}{run}");
    }
    section += "\n**Fix**\n\n";
    let first = if fix.is_empty() { "nothing to change for this alone" } else { fix };
    for fix in std::iter::once(&first).chain(*fix_more) {
        _ = writeln!(section, "- {fix}");
    }
    section
}
