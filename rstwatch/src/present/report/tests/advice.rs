//! What to change first.

use expect_test::expect;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::Role;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::timing::Moment;

use super::{busy, check, formatted, found, judged, refused};

/// A port scan: no single port to fix.
#[test]
fn a_scan_is_not_blamed_on_one_port() {
    let mut events = Vec::new();
    for port in 1..=300_u16 {
        let mut sent = judged(Direction::Sent, Cause::Refused, Sender::LocalKernel, Confidence::Certain);
        sent.event.local.set_port(port);
        sent.timing.moment = Moment::Connecting;
        events.push(sent);
    }
    check(
        &events,
        &expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 300 resets (300 sent, 0 received)

            causes
              300  100 %  refused: RST answered a SYN: nothing listens there
                          certain; peer 10.0.7.12; here many

            when
              300  while connecting: the attempt was refused

            change first
              1.  refused (300 resets): more than 64 addresses, none of which stands out: start the server,
                  or have clients use the right address and port
        "#]],
    );
}

fn refusals(direction: Direction, addresses: &[(&str, usize)]) -> Vec<Judged> {
    let refused = |address: &str| {
        let mut judged = refused(0);
        let end = address.parse().expect("an address");
        (judged.event.direction, judged.event.process) = (direction, None);
        match direction {
            Direction::Sent => (judged.event.local, judged.event.sender) = (end, Sender::LocalKernel),
            Direction::Received => judged.event.remote = end,
        }
        judged
    };
    addresses.iter().flat_map(|(address, n)| vec![refused(address); *n]).collect()
}

fn first_advice(judged: &[Judged]) -> String {
    let found = found(judged);
    found.change_first[0].advice.clone()
}

#[test]
fn every_server_that_refuses_is_named_if_they_are_few() {
    use Direction::{Received, Sent};
    let two = [("10.0.0.1:80", 4), ("10.0.0.2:80", 4)];
    expect!["check that a server listens on 10.0.0.1:80 and 10.0.0.2:80, and that no firewall rejects; else correct the address or port"].assert_eq(&first_advice(&refusals(Received, &two)));
    expect!["start a server on 10.0.0.1:80 and 10.0.0.2:80, or have clients use the right address and port"]
        .assert_eq(&first_advice(&refusals(Sent, &two)));
    let five =
        [("10.0.0.1:80", 4), ("[2001:db8::1]:80", 4), ("10.0.0.3:80", 3), ("10.0.0.4:80", 1), ("10.0.0.5:80", 1)];
    expect!["check that a server listens on 10.0.0.1:80, [2001:db8::1]:80, 10.0.0.3:80 and 2 more, and that no firewall rejects; else correct the address or port"].assert_eq(&first_advice(&refusals(Received, &five)));
    let seven = ["1", "2", "3", "4", "5", "6", "7"].map(|last| (format!("10.0.0.{last}:80"), 1));
    let seven: Vec<_> = seven.iter().map(|(address, n)| (address.as_str(), *n)).collect();
    expect!["7 addresses, none of which stands out: check that a server listens there, and that no firewall rejects; else correct the address or port"].assert_eq(&first_advice(&refusals(Received, &seven)));
}

/// The end that resets and its victim need different advice.
#[test]
fn each_direction_has_its_own_advice() {
    let mut sent = judged(Direction::Sent, Cause::UnreadData, Sender::LocalApp, Confidence::Certain);
    sent.event.role = Role::Server;
    let found = found(&[sent, busy(Cause::UnreadData, 0), busy(Cause::UnreadData, 9_000)]);
    let text = formatted(&found);
    expect![[r#"
        change first
          1.  unread_data (2 resets received): find out why the server stopped reading: a limit, a
              timeout, a cancelled request; its last message may say
          2.  unread_data (1 reset sent): read the request or response to its end before close(), on
              error paths too
    "#]]
    .assert_eq(&text[text.find("change first").expect("advice")..]);
}
