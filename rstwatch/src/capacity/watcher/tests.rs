use std::path::Path;

use rstwatch_common::tasks::TaskNetns;

use super::*;
use crate::capacity::seen::Seen;
use crate::record::{Workload, WorkloadKind};

// Namespaces of the fixture.
const HOST: u32 = 4_026_531_840;
const POD: u32 = 4_026_532_200;
/// A thread is alone in this one.
const THREADS: u32 = 4_026_532_300;
/// Nobody is in this one.
const EMPTY: u32 = 4_026_532_400;

#[derive(Default)]
struct Fake {
    seen: Vec<Seen>,
    sent: u64,
    full: Vec<u32>,
    tasks: Option<Vec<TaskNetns>>,
    /// Happens once, as soon as the listeners have been looked at.
    then: Option<Box<dyn FnOnce()>>,
}

impl KernelSide for Fake {
    fn listeners(&mut self) -> Option<Vec<Seen>> {
        self.then.take().into_iter().for_each(|then| then());
        Some(self.seen.clone())
    }

    fn tasks(&mut self) -> Option<Vec<TaskNetns>> {
        self.tasks.clone()
    }

    fn unlisted(&self) -> u64 {
        0
    }

    fn sent(&self, netns: u32) -> Option<u64> {
        Some(if netns == HOST { self.sent } else { 0 })
    }

    fn conntrack_full_ns(&self, _: u32) -> u64 {
        0
    }

    fn forget_sent(&mut self, there: impl Fn(u32) -> bool) {
        assert!(there(POD) && !there(EMPTY));
    }

    fn conntrack_was_full(&mut self, netns: u32, _: u64) {
        self.full.push(netns);
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capacity/fixture/proc")
}

fn watcher(proc: PathBuf, scope: Scope) -> Watcher<Fake> {
    let mut watcher = Watcher::new(Fake::default(), scope, 10, || 0, Arc::default());
    watcher.proc = proc;
    watcher
}

fn listener(port: u16, netns: u32, drops: u64) -> Seen {
    let workload = Workload {
        kind: WorkloadKind::Process,
        namespace: None,
        name: "nginx".into(),
        container: None,
        controller: None,
    };
    Seen {
        id: (port.into(), 1),
        local: ([0, 0, 0, 0], port).into(),
        netns,
        owner: crate::owner::Key::default(),
        workload: Some(workload),
        pid: 90,
        length: 3,
        limit: 2,
        met_full: 0,
        drops,
        gone: false,
    }
}

/// A copy of the fixture that a test may change.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cp = std::process::Command::new("cp");
    assert!(cp.arg("-a").arg(fixture()).arg(folder.path()).status().expect("cp").success());
    folder
}

fn change(proc: &Path, file: &str, from: &str, to: &str) {
    let path = proc.join(file);
    let text = read_to_string(&path).expect("the fixture");
    assert!(text.contains(from), "{file} has no {from}");
    std::fs::write(path, text.replace(from, to)).expect("written");
}

fn looked(watcher: &mut Watcher<Fake>) -> Arc<Snapshot> {
    watcher.look();
    watcher.capacity.get()
}

#[test]
fn two_looks_find_what_proc_shows() {
    let mut watcher = watcher(fixture(), Scope::default());
    watcher.kernel.seen = vec![listener(80, POD, 7), listener(81, THREADS, 1), listener(82, EMPTY, 4)];
    let found = looked(&mut watcher);
    assert_eq!((found.netns_readable, found.netns_unreadable), (2, 2), "nobody has told yet who is alone in one");
    let found = looked(&mut watcher);
    let overflows: Vec<_> = found.listeners.iter().map(|it| (it.port, it.overflows)).collect();
    assert_eq!(
        overflows,
        [(80, 7), (82, 4), (81, 1)],
        "of young namespaces, and of one that is not readable but was seen full"
    );
    assert_eq!(found.conntrack, Some(Conntrack { entries: 200, limit: 262_144 }));
    assert_eq!(found.conntrack_elsewhere, [(POD, 258)]);
    let drops = ConntrackDrops { full: Some(0), early_drop: Some(0), insert_failed: Some(0), invalid: Some(0) };
    assert_eq!(found.conntrack_drops, Some(drops), "what was before us is not counted");
    let page = rustix::param::page_size() as u64;
    let stack = Stack {
        orphans: Some(3),
        orphans_limit: Some(131_072),
        time_wait: Some(34),
        time_wait_limit: None,
        memory_bytes: Some(106 * page),
        memory_limit_bytes: Some(575_802 * page),
    };
    assert_eq!(found.stack, stack, "and tcp_max_tw_buckets is absent");
    assert_eq!((found.netns_readable, found.netns_unreadable), (3, 1));
}

/// The links below `ns` are taken away: nobody but the kernel side tells.
#[test]
fn what_the_kernel_side_tells_needs_no_right_to_trace() {
    let folder = copy();
    let proc = folder.path().join("proc");
    let mut rm = std::process::Command::new("find");
    assert!(rm.arg(&proc).args(["-name", "ns", "-exec", "rm", "-r", "{}", "+"]).status().expect("find").success());
    assert_eq!(Namespaces::default().look(&proc, None, [(THREADS, 90)]), []);
    let mut watcher = watcher(proc, Scope::default());
    let tasks = [(HOST, 1, 1), (POD, 77, 77), (POD, 78, 78), (THREADS, 90, 91), (EMPTY, 6, 6)];
    watcher.kernel.tasks = Some(tasks.map(|(netns, tgid, tid)| TaskNetns { netns, tgid, tid }).into());
    watcher.kernel.seen = vec![listener(80, POD, 7), listener(81, THREADS, 1)];
    let found = looked(&mut watcher);
    assert_eq!((found.netns_readable, found.netns_unreadable), (3, 0), "one has gone meanwhile");
    assert_eq!(found.conntrack, Some(Conntrack { entries: 200, limit: 262_144 }), "the first process's");
    assert_eq!(found.conntrack_elsewhere, [(POD, 258)]);
}

#[test]
fn counters_are_those_since_the_start() {
    let folder = copy();
    let proc = folder.path().join("proc");
    let mut watcher = watcher(proc.clone(), Scope::default());
    looked(&mut watcher);
    let counters = looked(&mut watcher);
    assert!(counters.counters.values().all(|count| *count == 0), "{:?}", counters.counters);
    assert!(counters.counters.contains_key("tcp_ext_tcp_abort_on_data"));
    assert!(!counters.counters.contains_key("tcp_ext_delayed_a_c_ks") && counters.counters.len() < 20);

    change(&proc, "77/net/netstat", "TcpExt: 0 0 0", "TcpExt: 6 0 0");
    change(&proc, "77/net/stat/nf_conntrack", "00000002", "00000005");
    let found = looked(&mut watcher);
    assert_eq!(
        (found.conntrack_drops.and_then(|drops| drops.full), watcher.kernel.full.len()),
        (Some(0), 0),
        "there is room"
    );
    change(&proc, "77/net/stat/nf_conntrack", "00000102", "0003ffff");
    change(&proc, "77/net/stat/nf_conntrack", "00000005", "00000008");
    let found = looked(&mut watcher);
    assert_eq!(found.counters["tcp_ext_syncookies_sent"], 6);
    assert_eq!(found.conntrack_drops.and_then(|drops| drops.full), Some(3));
    assert_eq!(watcher.kernel.full, [POD], "its table is full, and it dropped");
    // Another task stands for the namespace now: perhaps it is another one, and where that began is not known.
    std::fs::remove_dir_all(proc.join("78")).expect("removed");
    std::fs::rename(proc.join("77"), proc.join("79")).expect("renamed");
    change(&proc, "79/net/netstat", "TcpExt: 6 0 0", "TcpExt: 20 0 0");
    assert_eq!(looked(&mut watcher).counters["tcp_ext_syncookies_sent"], 6);
    change(&proc, "79/net/netstat", "TcpExt: 20 0 0", "TcpExt: 21 0 0");
    assert_eq!(looked(&mut watcher).counters["tcp_ext_syncookies_sent"], 7);
}

#[test]
fn our_count_is_compared_with_the_kernels() {
    let folder = copy();
    let mut watcher = watcher(folder.path().join("proc"), Scope::default());
    assert_eq!(looked(&mut watcher).out_rsts_difference, None);
    looked(&mut watcher);
    assert_eq!(looked(&mut watcher).out_rsts_difference, Some(0));
    watcher.kernel.sent += 2;
    assert_eq!(looked(&mut watcher).out_rsts_difference, Some(2));
    change(&folder.path().join("proc"), "1/net/snmp", " 0 11 0", " 0 16 0");
    assert_eq!(looked(&mut watcher).out_rsts_difference, Some(-3));
    watcher.missed = Box::new(|| 3);
    assert_eq!(looked(&mut watcher).out_rsts_difference, Some(0), "the kernel said that it did not show three");
}

#[test]
fn what_is_not_watched_is_not_read() {
    let mut watcher = watcher(fixture(), Scope { netns: vec![POD], cgroup: None });
    watcher.look();
    let found = watcher.capacity.get();
    assert_eq!((found.netns_readable, found.conntrack), (1, None));
}

#[test]
fn absent_files_are_absent() {
    let nothing = tempfile::tempdir().expect("a folder");
    let mut watcher = watcher(nothing.path().to_owned(), Scope { netns: vec![POD], cgroup: None });
    watcher.kernel = Fake::default();
    let found = watcher.snapshot(&BTreeMap::new(), None);
    assert_eq!(found, Snapshot::default());
}

#[test]
fn a_listener_that_went_is_counted_before_it_is_forgotten() {
    let mut watcher = watcher(fixture(), Scope::default());
    watcher.kernel.seen = vec![Seen { gone: true, ..listener(80, POD, 7) }];
    let found = looked(&mut watcher);
    assert_eq!(found.listeners.iter().map(|it| (it.overflows, it.sockets)).collect::<Vec<_>>(), [(7, 0)]);
    watcher.kernel.seen.clear();
    assert_eq!(looked(&mut watcher).listeners.len(), 1);
    assert!(watcher.queues.owners().is_empty());
}

#[test]
fn what_a_first_look_meets_halfway_is_not_taken_for_older() {
    let folder = copy();
    let proc = folder.path().join("proc");
    let mut watcher = watcher(proc.clone(), Scope::default());
    let met = |met_full| Seen { met_full, ..listener(80, POD, 0) };
    watcher.kernel.seen = vec![met(5)];
    watcher.kernel.then = Some(Box::new(move || change(&proc, "77/net/netstat", " 7 7 ", " 11 11 ")));
    looked(&mut watcher);
    watcher.kernel.seen = vec![met(9)];
    let found = looked(&mut watcher);
    assert_eq!(found.listeners.iter().map(|it| it.overflows).collect::<Vec<_>>(), [9]);
    assert_eq!(found.unattributed_overflows, 0);
}

#[test]
fn a_listener_that_one_look_missed_is_not_counted_anew() {
    let mut watcher = watcher(fixture(), Scope::default());
    watcher.kernel.seen = vec![listener(80, POD, 7)];
    looked(&mut watcher);
    let seen = std::mem::take(&mut watcher.kernel.seen);
    assert_eq!(looked(&mut watcher).listeners.iter().map(|it| it.overflows).collect::<Vec<_>>(), [7]);
    watcher.kernel.seen = seen;
    assert_eq!(looked(&mut watcher).listeners.iter().map(|it| it.overflows).collect::<Vec<_>>(), [7]);
    watcher.kernel.seen.clear();
    for _ in 0..=10 {
        looked(&mut watcher);
    }
    assert!(watcher.queues.owners().is_empty());
}
