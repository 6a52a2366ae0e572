//! What was watched, queues and tables that were full, and what was not seen.

use std::time::Duration;

use expect_test::expect;
use rstwatch_verdict::cause::{Cause, Direction, Sender};
use rstwatch_verdict::event::Rst;
use rstwatch_verdict::timing::{Moment, Timer, Timing};

use super::{busy, diagnosis, formatted, one_minute, probes};
use crate::kernel::probe::{Probe, Probes, Status};
use crate::present::filter::Filter;
use crate::present::report::pressure::Change;
use crate::stats::aggregate::{KernelCounts, LossStage};

#[test]
fn a_watch_without_resets_says_what_was_watched() {
    let mut quiet = one_minute();
    quiet.scope = "network namespace /run/netns/a\\n".into();
    quiet.pressure = Change {
        listen_overflows: Some(0),
        listen_drops: Some(0),
        conntrack_entries: Some(12),
        conntrack_limit: Some(262_144),
        ..Change::default()
    };
    let text = formatted(&diagnosis(&[], Filter::default(), quiet, &KernelCounts::default(), &probes()));
    expect![[r#"
        node-a, network namespace /run/netns/a\n, watched for 60.0 s: no resets

        pressure, in the network namespace of this command
          accept queues: 0 overflows, 0 drops
          conntrack: 12 of 262144 entries
    "#]]
    .assert_eq(&text);
}

#[test]
fn losses_pressure_and_missing_probes_are_reported() {
    let mut watch = one_minute();
    watch.filtered = true;
    watch.pressure = Change {
        listen_overflows: Some(17),
        listen_drops: Some(19),
        conntrack_entries: Some(260_000),
        conntrack_limit: Some(262_144),
        conntrack_drops: Some(3),
        conntrack_evictions: Some(1),
    };
    let counts = KernelCounts {
        resets: Vec::new(),
        undelivered: vec![(Direction::Sent, LossStage::RingFull, 5), (Direction::Received, LossStage::RateLimited, 2)],
        untracked: 0,
    };
    let probe = |name, attached| Probe {
        name,
        required: false,
        status: if attached { Status::Attached } else { Status::Missing { why: "fentry is refused\x07".into() } },
        evidence: "firewall rejects",
    };
    let probes = Probes(vec![probe("nf_send_reset", false), probe("kfree_skb", true)]);
    let mut device = busy(Cause::MiddleboxIdle, 0);
    device.event.sender = Sender::Middlebox;
    device.event.idle_ms = Some(352_000);
    device.timing = Timing {
        moment: Moment::AfterIdle,
        timer: Some(Timer { after: Duration::from_secs(352), exact: false }),
        repeats_sent: false,
    };
    device.event.rst = Some(Rst { ttl: Some(64), ttl_expected: Some(57), ..Rst::default() });
    device.event.because = vec!["not sent by the peer's own stack: TTL 64 was not decremented by any hop".into()];
    expect![[r#"
        node-a, every network namespace, filtered, watched for 60.0 s: 1 reset (0 sent, 1 received)

        causes
          1   12 %  middlebox_idle: a device on the path dropped its state for the idle connection and
                    reset it
                    likely; peer 10.0.7.12:5432; here cart
                    e.g. not sent by the peer's own stack: TTL 64 was not decremented by any hop

        when
          1  first operation after an idle period: the connection was already dead

        path
          TTL of received RSTs and of the handshake: equal 0, different 1; 1 was sent by a device on the
          path, in the peer's name

        idle timeouts
          10.0.7.12:5432: TCP keepalive must be below 352.0 s (candidates: AWS NLB 350, AWS NAT gateway
          350, AWS security group (newest Nitro) 350): found dead after 352.0 s; 1 reset

        pressure, in the network namespace of this command
          accept queues: 17 overflows, 19 drops: add capacity so that the server accepts faster; raise
          its backlog and net.core.somaxconn
          conntrack: 260000 of 262144 entries, 3 drops, 1 eviction: raise
          net.netfilter.nf_conntrack_max, or shorten the timeouts that fill the table

        not seen
          7 more resets (5 sent, 2 received; some may be two ends of one reset) were counted without
          details, and the filter does not apply to them: raise ring_buffer_bytes or
          detail_rate_per_second in the configuration
          firewall rejects (nf_send_reset missing)
          rstwatch check says why

        change first
          1.  middlebox_idle (1 reset): set TCP keepalive below 352.0 s (the idle time that was fatal
              here; the timeout may be shorter), or raise that timeout
    "#]]
    .assert_eq(&formatted(&diagnosis(&[device], Filter::default(), watch, &counts, &probes)));
}
