//! The memory that pods use, and that deleted pods leave none behind. Alone in its process, because it measures all memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::WatchEvent;
use rstwatch::identity::kubernetes::pod::WatchedPod;
use rstwatch::identity::kubernetes::store::{MAX_DELETED, PodStore};
use rstwatch::identity::kubernetes::watch::Sink;
use rstwatch::identity::kubernetes::{directory::Directory, names::Names};

/// Pods that exist at a time, as on a busy node.
const LIVE: usize = 250;
/// Pods that come and go after the warm-up.
const CHURNED: usize = 100_000;
/// Pods of the warm-up: after it the queue of deleted pods is full and the heap is fragmented.
const WARM: usize = 50_000;
/// Allowed growth: less than three bytes per pod that came and went, which is less than any of its strings.
const SLACK_KIB: u64 = 256;
/// Most memory of an existing pod with one container.
const POD_BYTES: u64 = 1_024;

/// Resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A line of a watch: a pod of a Deployment, including fields that are not used.
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

/// The caches, filled as the watches fill them.
struct Fixture {
    pods: Arc<PodStore>,
    names: Arc<Names>,
    now: Instant,
}

impl Fixture {
    fn take(&mut self, line: &str) {
        let mut directory = Directory::<WatchedPod>::new(&self.names);
        match serde_json::from_str(line).expect("an event") {
            WatchEvent::Added(seen) => {
                let seen: WatchedPod = seen;
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

    /// Adds pods and deletes the oldest, twenty per second, so that entries are evicted both by age and by number.
    fn churn(&mut self, pods: std::ops::Range<usize>) {
        for i in pods {
            self.take(&line("ADDED", i));
            if let Some(oldest) = i.checked_sub(LIVE) {
                self.take(&line("DELETED", oldest));
            }
            self.now += Duration::from_millis(50);
            self.pods.expire(self.now);
            Directory::<WatchedPod>::new(&self.names).expire(self.now);
        }
    }
}

/// Bytes per existing pod, measured before the heap is fragmented.
fn bytes_per_pod(count: usize) -> u64 {
    let mut fixture = Fixture { pods: Arc::default(), names: Arc::new(Names::new(1)), now: Instant::now() };
    let before = resident_kib();
    (0..count).for_each(|i| fixture.take(&line("ADDED", i)));
    (resident_kib() - before) * 1_024 / u64::try_from(count).expect("small")
}

#[test]
fn a_hundred_thousand_deleted_pods_leave_nothing_behind() {
    let price = bytes_per_pod(10_000);
    println!("{price} bytes per existing pod");
    assert!(price <= POD_BYTES, "{price} bytes per pod");
    let mut fixture = Fixture { pods: Arc::default(), names: Arc::new(Names::new(10_000)), now: Instant::now() };
    let empty = resident_kib();
    fixture.churn(0..WARM);
    let warm = resident_kib();
    fixture.churn(WARM..WARM + CHURNED);
    let after = resident_kib();
    println!(
        "{empty} KiB at first, {warm} KiB after {WARM} pods, {after} KiB after {CHURNED} more; {:?}",
        fixture.pods.sizes()
    );
    assert!(after <= warm + SLACK_KIB, "{warm} KiB after {WARM} pods, {after} KiB after {CHURNED} more");
    assert_eq!(fixture.pods.len(), LIVE);
    assert!(fixture.pods.sizes().iter().all(|size| *size <= LIVE + MAX_DELETED), "{:?}", fixture.pods.sizes());
}
