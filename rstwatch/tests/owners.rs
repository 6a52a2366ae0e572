//! Pods that come and go by the thousands: nothing that names owners may grow with them.

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

/// Counts bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it hands on every call as it came, and counts beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system's terms.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PODS: usize = 100_000;
/// Pods that live at the same time.
const BATCH: usize = 250;
/// The larger map doubles by this at most: not 20 bytes for each pod that came between.
const MAP: usize = 1 << 20;
const MOST_BYTES: usize = 4 << 20;
/// Workloads with series of their own.
const LIMIT: usize = 1000;

/// The API's side: who lives now. Every fourth pod is none of its own, as where the API is away.
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

fn event(n: usize, cgroup: u64) -> Event {
    let tgid = u32::try_from(n + 1).expect("small");
    Event {
        process: Some(Process { pid: tgid, comm: "job".into() }),
        owner: Identity { cgroup, socket: 0, tgid, start_ns: 7 },
        ..Event::bare(Direction::Sent, Cause::UnreadData, Sender::LocalApp, Confidence::Certain)
    }
}

/// A /proc whose mounts name a folder as the hierarchy, and no process.
fn proc(room: &Path) -> std::path::PathBuf {
    let hierarchy = room.join("cgroup");
    create_dir_all(hierarchy.join("kubepods/burstable")).expect("made");
    create_dir_all(room.join("proc/self")).expect("made");
    let line = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", hierarchy.display());
    write(room.join("proc/self/mountinfo"), line).expect("written");
    room.join("proc")
}

struct Node {
    room: tempfile::TempDir,
    api: Arc<Api>,
    owners: Owners,
    naming: Naming,
    aggregate: Aggregate,
}

impl Node {
    fn new() -> Self {
        let room = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let api = Arc::new(Api::default());
        let pods: Arc<dyn Pods> = Arc::<Api>::clone(&api);
        let owners = Owners::start_at(proc(room.path()), Some(pods)).expect("a thread");
        let naming = Naming::new(owners.clone());
        Self { room, api, owners, naming, aggregate: Aggregate::new(LIMIT) }
    }

    /// Pods come, each has a reset, and they are gone again.
    fn live(&mut self, first: usize) {
        let all: Vec<_> = (first..first + BATCH).collect();
        let at = |n: &usize| self.room.path().join("cgroup/kubepods/burstable").join(format!("pod{}", uid(*n)));
        let mut named = Vec::new();
        for n in &all {
            if n % 4 != 0 {
                self.api.0.lock().expect("not poisoned").insert(uid(*n), pod(*n));
            }
            let container = at(n).join(format!("{n:064x}"));
            create_dir(at(n)).and_then(|()| create_dir(&container)).expect("made");
            let inode = metadata(&container).expect("there").ino();
            named.extend(self.naming.take(event(*n, inode), 0));
        }
        named.extend(self.naming.finish());
        assert_eq!(named.len(), BATCH, "an event for each");
        named.iter().for_each(|event| self.aggregate.record(event));
        for n in &all {
            remove_dir(at(n).join(format!("{n:064x}"))).and_then(|()| remove_dir(at(n))).expect("removed");
        }
        self.api.0.lock().expect("not poisoned").clear();
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.owners.counts().iter().find(|(counted, _)| *counted == outcome).map_or(0, |(_, count)| *count)
    }
}

#[track_caller]
fn await_known(owners: &Owners, enough: impl Fn(usize) -> bool) {
    let began = std::time::Instant::now();
    while !enough(owners.cache_len().0) {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{} cgroups are known", owners.cache_len().0);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// More than inotify may watch, so that walks find them.
fn live_ones_are_cheap(node: &Node) {
    const LIVE: usize = 5000;
    // Those that went last may not have been heard of yet; when they are, as many are forgotten. Three folders are left.
    await_known(&node.owners, |known| known <= 8192 + 3);
    let (known, before) = (node.owners.cache_len().0, IN_USE.load(Ordering::Relaxed));
    for n in 0..LIVE {
        create_dir(node.room.path().join("cgroup").join(format!("service-{n}.service"))).expect("made");
    }
    await_known(&node.owners, |now| now >= known + LIVE);
    let each = (IN_USE.load(Ordering::Relaxed) - before) / LIVE;
    eprintln!("{each} bytes for each live cgroup");
    assert!(each < 1024, "{each} bytes for each");
}

#[test]
fn pods_that_come_and_go_leave_nothing_behind() {
    let mut node = Node::new();
    let mut in_use = Vec::new();
    for first in (0..PODS).step_by(BATCH) {
        node.live(first);
        if (first + BATCH).is_multiple_of(PODS / 4) {
            in_use.push(IN_USE.load(Ordering::Relaxed));
        }
    }
    eprintln!("bytes in use after each quarter: {in_use:?}; known: {:?}", node.owners.cache_len());
    // What is kept for five minutes is bounded, and was full after the first quarter. A map may double once more.
    assert!(in_use[3] < in_use[1] + MAP && in_use[3] < MOST_BYTES, "{in_use:?}");
    let (cgroups, tasks) = node.owners.cache_len();
    assert!(cgroups <= 8192 + 2 * BATCH + 2 && tasks <= 8192, "{cgroups} cgroups, {tasks} processes");
    let all: u64 = node.owners.counts().iter().map(|(_, count)| count).sum();
    assert_eq!(all, u64::try_from(PODS).expect("small"), "each event's owner was counted once");
    // A batch may meet the queue of those who wait full; then some leave with their processes.
    assert!(node.counted(Outcome::Pod) > 70_000, "{:?}", node.owners.counts());
    let totals = node.aggregate.snapshot(|| None);
    let names: std::collections::HashSet<_> =
        totals.resets().map(|(series, _)| totals.labels(series.workload).workload.clone()).collect();
    assert!(names.len() <= LIMIT + 2, "{} workloads", names.len());
    live_ones_are_cheap(&node);
    let ids = names.iter().filter(|name| name.len() == 12 && name.starts_with('0')).count();
    assert!(ids <= LIMIT / 2 && names.len() > LIMIT / 2 + ids / 2, "{ids} of them ids");
}
