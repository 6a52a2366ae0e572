//! Under pod churn, the memory of owner resolution stays bounded.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::fs::{create_dir, create_dir_all, metadata, remove_dir, write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rstwatch::identity::owner::naming::Naming;
use rstwatch::identity::owner::pods::{Controller, Lookup, Pod, Pods};
use rstwatch::identity::owner::{Outcome, Owners};
use rstwatch::stats::aggregate::Aggregate;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Event, Process};
use rstwatch_verdict::identity::Identity;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::timing::Timing;

/// The system allocator, with a count of the bytes in use.
struct CountingAllocator;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded unchanged to the system allocator; only a counter is added.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Pods in all.
const PODS: usize = 100_000;
/// Pods that exist at the same time.
const BATCH: usize = 250;
/// Allowed growth, for a hash map that doubles once more: less than 21 bytes per pod of the last two quarters.
const MAP_GROWTH: usize = 1 << 20;
/// Most bytes that may be in use after the last batch.
const MAX_BYTES: usize = 4 << 20;
/// Limit on the workloads that have series of their own.
const MAX_WORKLOADS: usize = 1000;

/// The existing pods, as the Kubernetes API would report them. Every fourth is missing, as in an outage.
#[derive(Default)]
struct Api(Mutex<HashMap<String, Arc<Pod>>>);

impl Pods for Api {
    fn find(&self, uid: Option<&str>, _: Option<&str>) -> Lookup {
        let pods = self.0.lock().expect("not poisoned");
        uid.and_then(|uid| pods.get(uid)).map_or(Lookup::Unknown, |pod| Lookup::Pod(Arc::clone(pod)))
    }
}

fn uid(n: usize) -> String {
    format!("b57320a0-e7eb-4ac8-a791-{n:012x}")
}

fn pod(n: usize) -> Arc<Pod> {
    let controller = Controller { kind: "Job".into(), name: format!("job-{}", n % 10_000).into() };
    let (name, containers) = (format!("job-{n}").into(), vec![(format!("{n:064x}").into(), "main".into())]);
    Arc::new(Pod { namespace: "batch".into(), name, controller: Some(controller), containers })
}

fn event(n: usize, cgroup: u64) -> Box<Judged> {
    let tgid = u32::try_from(n + 1).expect("small");
    let event = Event {
        process: Some(Process { pid: tgid, comm: "job".into() }),
        ..Event::bare(Direction::Sent, Cause::UnreadData, Sender::LocalApp, Confidence::Certain)
    };
    let identity = Identity { cgroup, socket: 0, tgid, start_ns: 7 };
    Box::new(Judged { event, timing: Timing::default(), identity })
}

/// A fake `/proc` without processes, which shows a temporary directory as the mounted cgroup hierarchy.
fn fake_proc(root: &Path) -> std::path::PathBuf {
    let hierarchy = root.join("cgroup");
    create_dir_all(hierarchy.join("kubepods/burstable")).expect("made");
    create_dir_all(root.join("proc/self")).expect("made");
    let line = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", hierarchy.display());
    write(root.join("proc/self/mountinfo"), line).expect("written");
    root.join("proc")
}

/// A node with its agent's owner resolution.
struct Node {
    root: tempfile::TempDir,
    api: Arc<Api>,
    owners: Owners,
    naming: Naming,
    aggregate: Aggregate,
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let api = Arc::new(Api::default());
        let pods: Arc<dyn Pods> = Arc::<Api>::clone(&api);
        let owners = Owners::start_at(fake_proc(root.path()), Some(pods)).expect("a thread");
        let naming = Naming::new(owners.clone());
        Self { root, api, owners, naming, aggregate: Aggregate::new(MAX_WORKLOADS) }
    }

    /// Creates a batch of pods with one reset each, then removes them.
    fn run_batch(&mut self, first: usize) {
        let batch: Vec<_> = (first..first + BATCH).collect();
        let pod_dir = |n: &usize| self.root.path().join("cgroup/kubepods/burstable").join(format!("pod{}", uid(*n)));
        let mut named = Vec::new();
        for n in &batch {
            if n % 4 != 0 {
                self.api.0.lock().expect("not poisoned").insert(uid(*n), pod(*n));
            }
            let container = pod_dir(n).join(format!("{n:064x}"));
            create_dir(pod_dir(n)).and_then(|()| create_dir(&container)).expect("made");
            let inode = metadata(&container).expect("there").ino();
            named.extend(self.naming.take(event(*n, inode), || 0));
        }
        named.extend(self.naming.finish());
        assert_eq!(named.len(), BATCH, "one event per pod");
        named.iter().for_each(|judged| self.aggregate.record(&judged.event));
        for n in &batch {
            remove_dir(pod_dir(n).join(format!("{n:064x}"))).and_then(|()| remove_dir(pod_dir(n))).expect("removed");
        }
        self.api.0.lock().expect("not poisoned").clear();
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.owners.counts().iter().find(|(it, _)| *it == outcome).map_or(0, |(_, count)| *count)
    }
}

#[track_caller]
fn wait_for_cgroups(owners: &Owners, is_enough: impl Fn(usize) -> bool) {
    let began = std::time::Instant::now();
    while !is_enough(owners.cache_len().0) {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{} cgroups in the cache", owners.cache_len().0);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Creates more cgroups than inotify may watch, so that periodic walks find the rest, and checks their memory.
fn check_memory_of_existing_cgroups(node: &Node) {
    const EXISTING: usize = 5000;
    // Wait until the last removals have been handled; each evicts an older entry. Three directories remain.
    wait_for_cgroups(&node.owners, |known| known <= 8192 + 3);
    let (known, before) = (node.owners.cache_len().0, IN_USE.load(Ordering::Relaxed));
    for n in 0..EXISTING {
        create_dir(node.root.path().join("cgroup").join(format!("service-{n}.service"))).expect("made");
    }
    wait_for_cgroups(&node.owners, |now| now >= known + EXISTING);
    let bytes = (IN_USE.load(Ordering::Relaxed) - before) / EXISTING;
    eprintln!("{bytes} bytes per existing cgroup");
    assert!(bytes < 1024, "{bytes} bytes per cgroup");
}

#[test]
fn memory_is_bounded_under_pod_churn() {
    let mut node = Node::new();
    let mut in_use = Vec::new();
    for first in (0..PODS).step_by(BATCH) {
        node.run_batch(first);
        if (first + BATCH).is_multiple_of(PODS / 4) {
            in_use.push(IN_USE.load(Ordering::Relaxed));
        }
    }
    eprintln!("bytes in use after each quarter: {in_use:?}; cached: {:?}", node.owners.cache_len());
    // Removed cgroups are kept for five minutes, up to a limit that the first quarter reaches. A hash map may double once more.
    assert!(in_use[3] < in_use[1] + MAP_GROWTH && in_use[3] < MAX_BYTES, "{in_use:?}");
    let (cgroups, tasks) = node.owners.cache_len();
    assert!(cgroups <= 8192 + 2 * BATCH + 2 && tasks <= 8192, "{cgroups} cgroups, {tasks} processes");
    let total: u64 = node.owners.counts().iter().map(|(_, count)| count).sum();
    assert_eq!(total, u64::try_from(PODS).expect("small"), "each event's owner was counted once");
    // A batch may fill the queue of events that await their owners; the overflow is named by process only.
    assert!(node.count(Outcome::Pod) > 70_000, "{:?}", node.owners.counts());
    let totals = node.aggregate.snapshot(|| None);
    let names: std::collections::HashSet<_> =
        totals.resets().map(|(series, _)| totals.labels(series.workload).workload.clone()).collect();
    assert!(names.len() <= MAX_WORKLOADS + 2, "{} workloads", names.len());
    check_memory_of_existing_cgroups(&node);
    let ids = names.iter().filter(|name| name.len() == 12 && name.starts_with('0')).count();
    assert!(
        ids <= MAX_WORKLOADS / 2 && names.len() > MAX_WORKLOADS / 2 + ids / 2,
        "{ids} workloads are named by container id"
    );
}
