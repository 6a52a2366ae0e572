use std::io::Write;
use std::process::{Command, Stdio};

use std::time::Duration;

use expect_test::expect;
use jiff::Timestamp;

use super::*;
use crate::capacity::{CapacitySnapshot, Conntrack, ConntrackDrops, Listener, Stack};
use crate::identity::kubernetes::failure::Kind;
use crate::kernel::gaps::PeerGaps;
use crate::kernel::probe::{Probe, Status};
use crate::stats::aggregate::{Aggregate, KernelCounts, LossStage};
use crate::stats::idle_timeouts::IdleTimeouts;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::WorkloadKind;
use rstwatch_verdict::testing::sample;

pub(super) fn exposition() -> Exposition {
    let aggregate = Aggregate::new(2);
    aggregate.record(&sample::idle_reaped());
    let mut hostile = sample::event(Direction::Sent, Cause::UnreadData, Sender::LocalApp, Confidence::Certain);
    hostile.workload = Some(sample::workload(WorkloadKind::Process, "", "a\"b\\c\nd"));
    aggregate.record(&hostile);
    hostile.workload = Some(sample::workload(WorkloadKind::Unit, "", "third.service"));
    aggregate.record(&hostile);
    aggregate.record(&sample::event(Direction::Received, Cause::Refused, Sender::Peer, Confidence::Certain));
    aggregate.absorb(&KernelCounts {
        resets: vec![(Direction::Sent, "NO_SOCKET".into(), 9), (Direction::Received, "none".into(), 2)],
        undelivered: vec![(Direction::Sent, LossStage::RingFull, 5), (Direction::Sent, LossStage::RateLimited, 2)],
        untracked: 7,
    });
    let status = |attached| if attached { Status::Attached } else { Status::Missing { why: String::new() } };
    let probe = |name, attached| Probe { name, required: true, status: status(attached), evidence: "" };
    let mut timeouts = IdleTimeouts::new(1);
    let peer = "10.0.7.12:5432".parse().expect("an address");
    let survived = Some(Duration::from_millis(58_900));
    let gaps = PeerGaps { peer, netns: 1, survived, survived_count: 1, closed: None, closed_count: 0 };
    timeouts.absorb(&[gaps], Timestamp::UNIX_EPOCH);
    timeouts.record(&sample::judged_idle_reaped());
    let totals = aggregate.snapshot(|| None);
    Exposition {
        events: EventCounts::new(&totals, 3),
        totals,
        idle_timeouts: timeouts.all(),
        capacity: Arc::new(snapshot()),
        kubernetes: None,
        web_config: None,
        owners: Outcome::ALL.iter().copied().zip([5, 4, 3, 2, 1]).collect(),
        probes: Arc::new(Probes(vec![probe("tcp_send_reset", true), probe("nf_send_reset", false)])),
        build: Build { version: "0.1.0", revision: "abc", object: "def" },
    }
}

/// A host without conntrack procfs, with one busy listener.
fn snapshot() -> CapacitySnapshot {
    let listener = Listener {
        address: "0.0.0.0".into(),
        port: 8080,
        workload: Some(sample::workload(WorkloadKind::Pod, "shop", "orders-api")),
        netns: 1,
        sockets: 1,
        length: 3,
        limit: 2,
        overflows: 7,
    };
    let closed =
        Listener { port: 81, workload: None, sockets: 0, length: 0, limit: 0, overflows: 1, ..listener.clone() };
    CapacitySnapshot {
        listeners: vec![listener, closed],
        unattributed_overflows: 2,
        conntrack: Some(Conntrack { entries: 200, limit: 262_144 }),
        conntrack_drops: Some(ConntrackDrops {
            full: Some(3),
            early_drop: None,
            insert_failed: Some(0),
            invalid: Some(1),
        }),
        conntrack_elsewhere: vec![(4_026_532_200, 258)],
        stack: Stack { orphans: Some(0), memory_bytes: Some(4096), ..Stack::default() },
        counters: [("tcp_ext_listen_overflows".to_owned(), 10)].into(),
        out_rsts_difference: Some(-1),
        netns_readable: 2,
        ..CapacitySnapshot::default()
    }
}

#[test]
fn openmetrics_text() {
    let text = encode(exposition(), Format::OpenMetrics).expect("text");
    expect![[r##"
        # HELP rstwatch_resets TCP resets by verdict, since the agent started. Summed over cause they equal kernel_resets; resets whose event was not delivered have the cause unsampled.
        # TYPE rstwatch_resets counter
        rstwatch_resets_total{direction="sent",cause="unread_data",sender="local_app",workload_kind="",namespace="",workload="_other"} 1
        rstwatch_resets_total{direction="sent",cause="unread_data",sender="local_app",workload_kind="process",namespace="",workload="a\"b\\c\nd"} 1
        rstwatch_resets_total{direction="received",cause="refused",sender="peer",workload_kind="",namespace="",workload=""} 1
        rstwatch_resets_total{direction="received",cause="idle_reaped",sender="peer",workload_kind="pod",namespace="shop",workload="orders-7c9d"} 1
        rstwatch_resets_total{direction="sent",cause="unsampled",sender="unknown",workload_kind="",namespace="",workload=""} 7
        rstwatch_resets_total{direction="received",cause="unsampled",sender="unknown",workload_kind="",namespace="",workload=""} 0
        # HELP rstwatch_kernel_resets TCP resets by the kernel's reason (enum sk_rst_reason in include/net/rstreason.h), counted exactly in the kernel since the agent started.
        # TYPE rstwatch_kernel_resets counter
        rstwatch_kernel_resets_total{direction="sent",reason="NO_SOCKET"} 9
        rstwatch_kernel_resets_total{direction="received",reason="none"} 2
        # HELP rstwatch_reset_idle_seconds Idle time of a connection in seconds, before the operation that met the reset or, without one, before the reset.
        # TYPE rstwatch_reset_idle_seconds histogram
        # UNIT rstwatch_reset_idle_seconds seconds
        rstwatch_reset_idle_seconds_sum{direction="received",cause="idle_reaped"} 61.24
        rstwatch_reset_idle_seconds_count{direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="1.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="2.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="4.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="5.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="10.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="20.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="30.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="60.0",direction="received",cause="idle_reaped"} 0
        rstwatch_reset_idle_seconds_bucket{le="75.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="90.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="120.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="180.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="240.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="300.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="350.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="600.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="900.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="1800.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="3600.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="7200.0",direction="received",cause="idle_reaped"} 1
        rstwatch_reset_idle_seconds_bucket{le="+Inf",direction="received",cause="idle_reaped"} 1
        # HELP rstwatch_idle_timeout_seconds Inferred idle timeout of a destination in seconds, as two bounds: the longest idle period that a connection survived, and the shortest that ended one.
        # TYPE rstwatch_idle_timeout_seconds gauge
        # UNIT rstwatch_idle_timeout_seconds seconds
        rstwatch_idle_timeout_seconds{peer="10.0.7.12:5432",bound="survived"} 58.9
        rstwatch_idle_timeout_seconds{peer="10.0.7.12:5432",bound="died"} 60.01
        # HELP rstwatch_listen_queue_length Connections in the listener's accept queue (sk_ack_backlog in struct sock); the fullest queue if several sockets share the labels.
        # TYPE rstwatch_listen_queue_length gauge
        rstwatch_listen_queue_length{address="0.0.0.0",port="8080",workload_kind="pod",namespace="shop",workload="orders-api"} 3
        # HELP rstwatch_listen_queue_limit Maximum connections in the same accept queue (sk_max_ack_backlog in struct sock, the smaller of listen()'s backlog and net.core.somaxconn); the kernel accepts one more.
        # TYPE rstwatch_listen_queue_limit gauge
        rstwatch_listen_queue_limit{address="0.0.0.0",port="8080",workload_kind="pod",namespace="shop",workload="orders-api"} 2
        # HELP rstwatch_listen_overflows Connections dropped because the listener's accept queue was full (TcpExt ListenOverflows, attributed to listeners), since the agent started. The series without an address are overflows of unknown listeners and, as workload _other, of those beyond the limit.
        # TYPE rstwatch_listen_overflows counter
        rstwatch_listen_overflows_total{address="0.0.0.0",port="8080",workload_kind="pod",namespace="shop",workload="orders-api"} 7
        rstwatch_listen_overflows_total{address="0.0.0.0",port="81",workload_kind="",namespace="",workload=""} 1
        rstwatch_listen_overflows_total{address="",port="",workload_kind="",namespace="",workload=""} 2
        rstwatch_listen_overflows_total{address="",port="",workload_kind="",namespace="",workload="_other"} 0
        # HELP rstwatch_listeners_folded Listeners without series of their own, because the limit of listeners was reached.
        # TYPE rstwatch_listeners_folded gauge
        rstwatch_listeners_folded 0
        # HELP rstwatch_listeners_unlisted Listeners that were not recorded since the agent started, because the eBPF map of listeners was full.
        # TYPE rstwatch_listeners_unlisted counter
        rstwatch_listeners_unlisted_total 0
        # HELP rstwatch_conntrack_entries Entries in the conntrack table of the host's network namespace (entries in /proc/net/stat/nf_conntrack).
        # TYPE rstwatch_conntrack_entries gauge
        rstwatch_conntrack_entries 200
        # HELP rstwatch_conntrack_limit Maximum entries in the conntrack table of a network namespace (sysctl net.netfilter.nf_conntrack_max).
        # TYPE rstwatch_conntrack_limit gauge
        rstwatch_conntrack_limit 262144
        # HELP rstwatch_conntrack_drops Packets and entries lost by connection tracking (/proc/net/stat/nf_conntrack), summed over readable network namespaces since the agent started: packets dropped while the table was full (full), entries evicted from it (early_drop), entries not inserted (insert_failed), packets that match no connection (invalid).
        # TYPE rstwatch_conntrack_drops counter
        rstwatch_conntrack_drops_total{kind="full"} 3
        rstwatch_conntrack_drops_total{kind="insert_failed"} 0
        rstwatch_conntrack_drops_total{kind="invalid"} 1
        # HELP rstwatch_netns_conntrack_entries Entries in the conntrack tables of other network namespaces than the host's (entries in /proc/net/stat/nf_conntrack); only the fullest tables are exported.
        # TYPE rstwatch_netns_conntrack_entries gauge
        rstwatch_netns_conntrack_entries{netns="4026532200"} 258
        # HELP rstwatch_tcp_orphans Orphaned TCP sockets of this host: closed by their process, but not yet by TCP (orphan in /proc/net/sockstat).
        # TYPE rstwatch_tcp_orphans gauge
        rstwatch_tcp_orphans 0
        # HELP rstwatch_tcp_memory_bytes Memory in TCP socket buffers of this host, in bytes (mem in /proc/net/sockstat, times the page size).
        # TYPE rstwatch_tcp_memory_bytes gauge
        # UNIT rstwatch_tcp_memory_bytes bytes
        rstwatch_tcp_memory_bytes 4096
        # HELP rstwatch_tcp_ext_listen_overflows Connections dropped because the accept queue was full (TcpExt ListenOverflows, LINUX_MIB_LISTENOVERFLOWS in net/ipv4/tcp_input.c, tcp_ipv4.c and net/ipv6/tcp_ipv6.c), summed over readable network namespaces since the agent started.
        # TYPE rstwatch_tcp_ext_listen_overflows counter
        rstwatch_tcp_ext_listen_overflows_total 10
        # HELP rstwatch_out_rsts_difference Sent resets counted by the agent minus those counted by the kernel (Tcp OutRsts), over readable network namespaces. A difference that stays constant for five minutes moves to out_rsts_over.
        # TYPE rstwatch_out_rsts_difference gauge
        rstwatch_out_rsts_difference -1
        # HELP rstwatch_out_rsts_over Sent resets by which the agent and the kernel (Tcp OutRsts) differed for five minutes, since the agent started, by whether the agent had counted more or fewer.
        # TYPE rstwatch_out_rsts_over counter
        rstwatch_out_rsts_over_total{counted="more"} 0
        rstwatch_out_rsts_over_total{counted="fewer"} 0
        # HELP rstwatch_netns Network namespaces by whether their counters can be read in /proc; unreadable ones are known only by their listeners.
        # TYPE rstwatch_netns gauge
        rstwatch_netns{state="readable"} 2
        rstwatch_netns{state="unreadable"} 0
        # HELP rstwatch_events Events classified since the agent started.
        # TYPE rstwatch_events counter
        rstwatch_events_total 4
        # HELP rstwatch_events_lost Events lost since the agent started, by stage. Their resets are still counted: as unsampled, or at stage follower by their cause.
        # TYPE rstwatch_events_lost counter
        rstwatch_events_lost_total{stage="missed"} 0
        rstwatch_events_lost_total{stage="rate_limited"} 2
        rstwatch_events_lost_total{stage="ring_full"} 5
        rstwatch_events_lost_total{stage="decode"} 0
        rstwatch_events_lost_total{stage="follower"} 3
        # HELP rstwatch_sockets_untracked Sockets since the agent started that found no room in the kernel side's table of connections, or lost it to another owner's. Their resets are counted; verdicts about them have less evidence.
        # TYPE rstwatch_sockets_untracked counter
        rstwatch_sockets_untracked_total 7
        # HELP rstwatch_series_folded Resets counted as workload _other since the agent started, because the limit of workloads was reached.
        # TYPE rstwatch_series_folded counter
        rstwatch_series_folded_total 1
        # HELP rstwatch_owners Events since the agent started, by what their owner was found to be.
        # TYPE rstwatch_owners counter
        rstwatch_owners_total{result="pod"} 5
        rstwatch_owners_total{result="container"} 4
        rstwatch_owners_total{result="unit"} 3
        rstwatch_owners_total{result="process"} 2
        rstwatch_owners_total{result="unresolved"} 1
        # HELP rstwatch_probe_attached 1 if the probe is attached to the kernel, else 0.
        # TYPE rstwatch_probe_attached gauge
        rstwatch_probe_attached{probe="tcp_send_reset"} 1
        rstwatch_probe_attached{probe="nf_send_reset"} 0
        # HELP rstwatch_probe_missed 1 if the probe is not attached and no other probe gives all of its evidence, else 0.
        # TYPE rstwatch_probe_missed gauge
        rstwatch_probe_missed{probe="tcp_send_reset"} 0
        rstwatch_probe_missed{probe="nf_send_reset"} 1
        # HELP rstwatch_build_info Always 1; the labels identify the build and its eBPF object.
        # TYPE rstwatch_build_info gauge
        rstwatch_build_info{version="0.1.0",revision="abc",object="def"} 1
        # EOF
    "##]].assert_eq(&text);
}

#[test]
fn prometheus_text() {
    let text = encode(exposition(), Format::Prometheus).expect("text");
    let heads: String = text.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    expect![[r#"
        # HELP rstwatch_resets_total TCP resets by verdict, since the agent started. Summed over cause they equal kernel_resets; resets whose event was not delivered have the cause unsampled.
        # TYPE rstwatch_resets_total counter
        # HELP rstwatch_kernel_resets_total TCP resets by the kernel's reason (enum sk_rst_reason in include/net/rstreason.h), counted exactly in the kernel since the agent started.
        # TYPE rstwatch_kernel_resets_total counter
        # HELP rstwatch_reset_idle_seconds Idle time of a connection in seconds, before the operation that met the reset or, without one, before the reset.
        # TYPE rstwatch_reset_idle_seconds histogram
        # HELP rstwatch_idle_timeout_seconds Inferred idle timeout of a destination in seconds, as two bounds: the longest idle period that a connection survived, and the shortest that ended one.
        # TYPE rstwatch_idle_timeout_seconds gauge
        # HELP rstwatch_listen_queue_length Connections in the listener's accept queue (sk_ack_backlog in struct sock); the fullest queue if several sockets share the labels.
        # TYPE rstwatch_listen_queue_length gauge
        # HELP rstwatch_listen_queue_limit Maximum connections in the same accept queue (sk_max_ack_backlog in struct sock, the smaller of listen()'s backlog and net.core.somaxconn); the kernel accepts one more.
        # TYPE rstwatch_listen_queue_limit gauge
        # HELP rstwatch_listen_overflows_total Connections dropped because the listener's accept queue was full (TcpExt ListenOverflows, attributed to listeners), since the agent started. The series without an address are overflows of unknown listeners and, as workload _other, of those beyond the limit.
        # TYPE rstwatch_listen_overflows_total counter
        # HELP rstwatch_listeners_folded Listeners without series of their own, because the limit of listeners was reached.
        # TYPE rstwatch_listeners_folded gauge
        # HELP rstwatch_listeners_unlisted_total Listeners that were not recorded since the agent started, because the eBPF map of listeners was full.
        # TYPE rstwatch_listeners_unlisted_total counter
        # HELP rstwatch_conntrack_entries Entries in the conntrack table of the host's network namespace (entries in /proc/net/stat/nf_conntrack).
        # TYPE rstwatch_conntrack_entries gauge
        # HELP rstwatch_conntrack_limit Maximum entries in the conntrack table of a network namespace (sysctl net.netfilter.nf_conntrack_max).
        # TYPE rstwatch_conntrack_limit gauge
        # HELP rstwatch_conntrack_drops_total Packets and entries lost by connection tracking (/proc/net/stat/nf_conntrack), summed over readable network namespaces since the agent started: packets dropped while the table was full (full), entries evicted from it (early_drop), entries not inserted (insert_failed), packets that match no connection (invalid).
        # TYPE rstwatch_conntrack_drops_total counter
        # HELP rstwatch_netns_conntrack_entries Entries in the conntrack tables of other network namespaces than the host's (entries in /proc/net/stat/nf_conntrack); only the fullest tables are exported.
        # TYPE rstwatch_netns_conntrack_entries gauge
        # HELP rstwatch_tcp_orphans Orphaned TCP sockets of this host: closed by their process, but not yet by TCP (orphan in /proc/net/sockstat).
        # TYPE rstwatch_tcp_orphans gauge
        # HELP rstwatch_tcp_memory_bytes Memory in TCP socket buffers of this host, in bytes (mem in /proc/net/sockstat, times the page size).
        # TYPE rstwatch_tcp_memory_bytes gauge
        # HELP rstwatch_tcp_ext_listen_overflows_total Connections dropped because the accept queue was full (TcpExt ListenOverflows, LINUX_MIB_LISTENOVERFLOWS in net/ipv4/tcp_input.c, tcp_ipv4.c and net/ipv6/tcp_ipv6.c), summed over readable network namespaces since the agent started.
        # TYPE rstwatch_tcp_ext_listen_overflows_total counter
        # HELP rstwatch_out_rsts_difference Sent resets counted by the agent minus those counted by the kernel (Tcp OutRsts), over readable network namespaces. A difference that stays constant for five minutes moves to out_rsts_over.
        # TYPE rstwatch_out_rsts_difference gauge
        # HELP rstwatch_out_rsts_over_total Sent resets by which the agent and the kernel (Tcp OutRsts) differed for five minutes, since the agent started, by whether the agent had counted more or fewer.
        # TYPE rstwatch_out_rsts_over_total counter
        # HELP rstwatch_netns Network namespaces by whether their counters can be read in /proc; unreadable ones are known only by their listeners.
        # TYPE rstwatch_netns gauge
        # HELP rstwatch_events_total Events classified since the agent started.
        # TYPE rstwatch_events_total counter
        # HELP rstwatch_events_lost_total Events lost since the agent started, by stage. Their resets are still counted: as unsampled, or at stage follower by their cause.
        # TYPE rstwatch_events_lost_total counter
        # HELP rstwatch_sockets_untracked_total Sockets since the agent started that found no room in the kernel side's table of connections, or lost it to another owner's. Their resets are counted; verdicts about them have less evidence.
        # TYPE rstwatch_sockets_untracked_total counter
        # HELP rstwatch_series_folded_total Resets counted as workload _other since the agent started, because the limit of workloads was reached.
        # TYPE rstwatch_series_folded_total counter
        # HELP rstwatch_owners_total Events since the agent started, by what their owner was found to be.
        # TYPE rstwatch_owners_total counter
        # HELP rstwatch_probe_attached 1 if the probe is attached to the kernel, else 0.
        # TYPE rstwatch_probe_attached gauge
        # HELP rstwatch_probe_missed 1 if the probe is not attached and no other probe gives all of its evidence, else 0.
        # TYPE rstwatch_probe_missed gauge
        # HELP rstwatch_build_info Always 1; the labels identify the build and its eBPF object.
        # TYPE rstwatch_build_info gauge
    "#]].assert_eq(&heads);
    let samples =
        |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(samples(&text), samples(&encode(exposition(), Format::OpenMetrics).expect("text")));
}

#[test]
fn openmetrics_is_served_only_if_accept_names_it() {
    let cases = [
        (vec![], Format::Prometheus),
        (vec!["*/*"], Format::Prometheus),
        (vec!["text/plain;version=0.0.4"], Format::Prometheus),
        (vec!["application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1"], Format::OpenMetrics),
        (vec!["text/plain;q=0.5, application/openmetrics-text"], Format::OpenMetrics),
        (vec!["text/plain", "application/openmetrics-text"], Format::OpenMetrics),
    ];
    for (accept, format) in cases {
        assert_eq!(Format::accepted(accept.clone()), format, "{accept:?}");
    }
}

#[test]
fn promtool_accepts_the_text() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        // Straight to stderr, because the test harness captures eprintln!.
        _ = writeln!(std::io::stderr(), "skipped: promtool not installed");
        return;
    };
    let text = encode(exposition(), Format::Prometheus).expect("text");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    let complaints = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}\n{text}");
}

pub(super) fn kubernetes() -> KubernetesSnapshot {
    KubernetesSnapshot {
        up: true,
        errors: Kind::ALL.map(|kind| (kind, u64::from(kind == Kind::Gone))),
        pods: 30,
        pods_refused: 0,
        addresses: Some((7, 2)),
    }
}

#[test]
fn kubernetes_metrics_are_exported_only_if_the_api_is_used() {
    let lines = |exposition| {
        let text = encode(exposition, Format::OpenMetrics).expect("text");
        let shown = |line: &&str| line.starts_with("rstwatch_kubernetes_");
        text.lines().filter(shown).map(|line| line.to_owned() + "\n").collect::<String>()
    };
    assert_eq!(lines(exposition()), "");
    expect![[r#"
        rstwatch_kubernetes_up 1
        rstwatch_kubernetes_pods 30
        rstwatch_kubernetes_errors_total{kind="connect"} 0
        rstwatch_kubernetes_errors_total{kind="forbidden"} 0
        rstwatch_kubernetes_errors_total{kind="gone"} 1
        rstwatch_kubernetes_errors_total{kind="decode"} 0
        rstwatch_kubernetes_errors_total{kind="other"} 0
        rstwatch_kubernetes_refused_total{what="pod"} 0
        rstwatch_kubernetes_refused_total{what="address"} 2
        rstwatch_kubernetes_addresses 7
    "#]]
    .assert_eq(&lines(Exposition { kubernetes: Some(kubernetes()), ..exposition() }));
}
