//! What pods cost, and that those that come and go leave nothing. Alone in its process, for it looks at all its memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::WatchEvent;
use rstwatch::identity::kubernetes::names::{Directory, Names};
use rstwatch::identity::kubernetes::pod::Seen;
use rstwatch::identity::kubernetes::store::{MOST_GONE, Store};
use rstwatch::identity::kubernetes::watch::Sink;

/// Pods that live at a time, a busy node's.
const LIVE: usize = 250;
/// That come and go, after the first ones.
const CHURNED: usize = 100_000;
/// By then everything has its size: those that are gone are as many as are kept, and the allocator has its holes.
const WARM: usize = 50_000;
/// Less than three bytes for each pod that came and went: no string of any of them.
const SLACK_KIB: u64 = 256;
/// The price of a live pod with one container, rounded up.
const POD_BYTES: u64 = 1_024;

/// Resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A line of a watch: a pod as Deployments make them, with as much about it as nobody here needs.
fn line(kind: &str, i: usize) -> String {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(i % 5_000).expect("small"));
    format!(
        r#"{{"type":"{kind}","object":{{
            "metadata":{{"name":"orders-7c9d8f6b5-{i}","namespace":"some-namespace","resourceVersion":"{i}",
                "uid":"c2a7d2b4-2a1e-4b5f-9c3d-{i:012}","labels":{{"app":"orders","pod-template-hash":"7c9d8f6b5"}},
                "ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"orders-7c9d8f6b5","controller":true}}],
                "managedFields":[{{"fieldsV1":{{"f:status":{{"f:conditions":{{"f:type":{{}}}}}}}}}}]}},
            "spec":{{"nodeName":"node-a","containers":[{{"name":"main","env":[{{"name":"A","value":"b"}}]}}]}},
            "status":{{"podIP":"{address}","containerStatuses":[{{"name":"main","containerID":"containerd://{i:064x}"}}]}}}}}}"#
    )
}

/// The stores, fed as the watches feed them.
struct Stage {
    pods: Arc<Store>,
    names: Arc<Names>,
    now: Instant,
}

impl Stage {
    fn take(&mut self, line: &str) {
        let mut directory = Directory::<Seen>::new(&self.names);
        match serde_json::from_str(line).expect("an event") {
            WatchEvent::Added(seen) => {
                let seen: Seen = seen;
                directory.apply(seen.clone(), self.now);
                self.pods.apply(seen, self.now);
            }
            WatchEvent::Deleted(seen) => {
                directory.delete(seen.clone(), self.now);
                self.pods.delete(seen, self.now);
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// Pod after pod comes, and the oldest goes; twenty a second, so that some go by age and some by number.
    fn churn(&mut self, pods: std::ops::Range<usize>) {
        for i in pods {
            self.take(&line("ADDED", i));
            if let Some(oldest) = i.checked_sub(LIVE) {
                self.take(&line("DELETED", oldest));
            }
            self.now += Duration::from_millis(50);
            self.pods.expire(self.now);
            Directory::<Seen>::new(&self.names).expire(self.now);
        }
    }
}

/// What so many living pods take (bytes for each), before anything else has made holes.
fn price(count: usize) -> u64 {
    let mut stage = Stage { pods: Arc::default(), names: Arc::new(Names::new(1)), now: Instant::now() };
    let before = resident_kib();
    (0..count).for_each(|i| stage.take(&line("ADDED", i)));
    (resident_kib() - before) * 1_024 / u64::try_from(count).expect("small")
}

#[test]
fn a_hundred_thousand_pods_come_and_go_and_leave_nothing() {
    let price = price(10_000);
    println!("{price} bytes for a pod that lives");
    assert!(price <= POD_BYTES, "{price} bytes for a pod");
    let mut stage = Stage { pods: Arc::default(), names: Arc::new(Names::new(10_000)), now: Instant::now() };
    let empty = resident_kib();
    stage.churn(0..WARM);
    let warm = resident_kib();
    stage.churn(WARM..WARM + CHURNED);
    let after = resident_kib();
    println!(
        "{empty} KiB at first, {warm} KiB after {WARM} pods, {after} KiB after {CHURNED} more; {:?}",
        stage.pods.sizes()
    );
    assert!(after <= warm + SLACK_KIB, "{warm} KiB after {WARM} pods, {after} KiB after {CHURNED} more");
    assert_eq!(stage.pods.len(), LIVE);
    assert!(stage.pods.sizes().iter().all(|size| *size <= LIVE + MOST_GONE), "{:?}", stage.pods.sizes());
}
