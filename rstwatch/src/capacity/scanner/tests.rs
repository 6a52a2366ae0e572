use std::path::Path;

use rstwatch_common::tasks::TaskNetns;

use super::*;
use crate::capacity::scanned_listener::ScannedListener;
use crate::kernel::netns::Netns;
use rstwatch_verdict::event::{Workload, WorkloadKind};

// Namespaces of the fixture.
const HOST: u32 = 4_026_531_840;
const POD: u32 = 4_026_532_200;
/// Contains a single thread.
const THREADS: u32 = 4_026_532_300;
/// Contains no task.
const EMPTY: u32 = 4_026_532_400;

#[derive(Default)]
struct Fake {
    seen: Vec<ScannedListener>,
    sent: u64,
    full: Vec<u32>,
    tasks: Option<Vec<TaskNetns>>,
    /// Runs once, as soon as the listeners have been read.
    then: Option<Box<dyn FnOnce()>>,
}

impl KernelSide for Fake {
    fn listeners(&mut self) -> Option<Vec<ScannedListener>> {
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

    fn forget_sent(&mut self, exists: impl Fn(u32) -> bool) {
        assert!(exists(POD) && !exists(EMPTY));
    }

    fn conntrack_was_full(&mut self, netns: u32, _: u64) {
        self.full.push(netns);
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capacity/fixture/proc")
}

fn scanner(proc: PathBuf, scope: Scope) -> Scanner<Fake> {
    let mut scanner = Scanner::new(Fake::default(), scope, 10, || 0, Arc::default());
    scanner.proc = proc;
    scanner
}

fn listener(port: u16, netns: u32, drops: u64) -> ScannedListener {
    let workload = Workload {
        kind: WorkloadKind::Process,
        namespace: None,
        name: "nginx".into(),
        container: None,
        controller: None,
    };
    ScannedListener {
        id: (port.into(), 1),
        local: ([0, 0, 0, 0], port).into(),
        netns,
        owner: rstwatch_verdict::identity::Identity::default(),
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

fn scan(scanner: &mut Scanner<Fake>) -> Arc<CapacitySnapshot> {
    scanner.scan();
    scanner.capacity.get()
}

#[test]
fn two_scans_find_what_proc_shows() {
    let mut scanner = scanner(fixture(), Scope::default());
    scanner.kernel.seen = vec![listener(80, POD, 7), listener(81, THREADS, 1), listener(82, EMPTY, 4)];
    let found = scan(&mut scanner);
    assert_eq!(
        (found.netns_readable, found.netns_unreadable),
        (2, 2),
        "the first scan does not know the listener's process, which is alone in its namespace"
    );
    let found = scan(&mut scanner);
    let overflows: Vec<_> = found.listeners.iter().map(|it| (it.port, it.overflows)).collect();
    assert_eq!(overflows, [(80, 7), (82, 4), (81, 1)], "of new namespaces, and of an unreadable one found full");
    assert_eq!(found.conntrack, Some(Conntrack { entries: 200, limit: 262_144 }));
    assert_eq!(found.conntrack_elsewhere, [(POD, 258)]);
    let drops = ConntrackDrops { full: Some(0), early_drop: Some(0), insert_failed: Some(0), invalid: Some(0) };
    assert_eq!(found.conntrack_drops, Some(drops), "drops from before the agent are not counted");
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

/// Without the links below `ns`, namespaces are known from the kernel side alone.
#[test]
fn namespaces_from_the_kernel_side_need_no_ptrace_permission() {
    let folder = copy();
    let proc = folder.path().join("proc");
    let mut rm = std::process::Command::new("find");
    assert!(rm.arg(&proc).args(["-name", "ns", "-exec", "rm", "-r", "{}", "+"]).status().expect("find").success());
    assert_eq!(Namespaces::default().scan(&proc, None, [(THREADS, 90)]), []);
    let mut scanner = scanner(proc, Scope::default());
    let tasks = [(HOST, 1, 1), (POD, 77, 77), (POD, 78, 78), (THREADS, 90, 91), (EMPTY, 6, 6)];
    scanner.kernel.tasks = Some(tasks.map(|(netns, tgid, tid)| TaskNetns { netns, tgid, tid }).into());
    scanner.kernel.seen = vec![listener(80, POD, 7), listener(81, THREADS, 1)];
    let found = scan(&mut scanner);
    assert_eq!((found.netns_readable, found.netns_unreadable), (3, 0), "one task has gone meanwhile");
    assert_eq!(found.conntrack, Some(Conntrack { entries: 200, limit: 262_144 }), "of the first process");
    assert_eq!(found.conntrack_elsewhere, [(POD, 258)]);
}

#[test]
fn counters_start_with_the_agent() {
    let folder = copy();
    let proc = folder.path().join("proc");
    let mut scanner = scanner(proc.clone(), Scope::default());
    scan(&mut scanner);
    let counters = scan(&mut scanner);
    assert!(counters.counters.values().all(|count| *count == 0), "{:?}", counters.counters);
    assert!(counters.counters.contains_key("tcp_ext_tcp_abort_on_data"));
    assert!(!counters.counters.contains_key("tcp_ext_delayed_a_c_ks") && counters.counters.len() < 20);

    change(&proc, "77/net/netstat", "TcpExt: 0 0 0", "TcpExt: 6 0 0");
    change(&proc, "77/net/stat/nf_conntrack", "00000002", "00000005");
    let found = scan(&mut scanner);
    assert_eq!(
        (found.conntrack_drops.and_then(|drops| drops.full), scanner.kernel.full.len()),
        (Some(0), 0),
        "the table has room"
    );
    change(&proc, "77/net/stat/nf_conntrack", "00000102", "0003ffff");
    change(&proc, "77/net/stat/nf_conntrack", "00000005", "00000008");
    let found = scan(&mut scanner);
    assert_eq!(found.counters["tcp_ext_syncookies_sent"], 6);
    assert_eq!(found.conntrack_drops.and_then(|drops| drops.full), Some(3));
    assert_eq!(scanner.kernel.full, [POD], "the table is full, and packets were dropped");
    // The namespace is read through another task: it may be another namespace, so the reading only begins a new baseline.
    std::fs::remove_dir_all(proc.join("78")).expect("removed");
    std::fs::rename(proc.join("77"), proc.join("79")).expect("renamed");
    change(&proc, "79/net/netstat", "TcpExt: 6 0 0", "TcpExt: 20 0 0");
    assert_eq!(scan(&mut scanner).counters["tcp_ext_syncookies_sent"], 6);
    change(&proc, "79/net/netstat", "TcpExt: 20 0 0", "TcpExt: 21 0 0");
    assert_eq!(scan(&mut scanner).counters["tcp_ext_syncookies_sent"], 7);
}

#[test]
fn sent_resets_are_compared_with_the_kernels_count() {
    let folder = copy();
    let mut scanner = scanner(folder.path().join("proc"), Scope::default());
    assert_eq!(scan(&mut scanner).out_rsts_difference, None);
    scan(&mut scanner);
    assert_eq!(scan(&mut scanner).out_rsts_difference, Some(0));
    scanner.kernel.sent += 2;
    assert_eq!(scan(&mut scanner).out_rsts_difference, Some(2));
    change(&folder.path().join("proc"), "1/net/snmp", " 0 11 0", " 0 16 0");
    assert_eq!(scan(&mut scanner).out_rsts_difference, Some(-3));
    scanner.missed = Box::new(|| 3);
    assert_eq!(scan(&mut scanner).out_rsts_difference, Some(0), "the kernel reports three missed resets");
}

#[test]
fn namespaces_out_of_scope_are_not_read() {
    let mut scanner = scanner(fixture(), Scope { netns: vec![Netns::held(POD)], cgroup: None });
    scanner.scan();
    let found = scanner.capacity.get();
    assert_eq!((found.netns_readable, found.conntrack), (1, None));
}

#[test]
fn absent_files_are_absent() {
    let nothing = tempfile::tempdir().expect("a folder");
    let mut scanner = scanner(nothing.path().to_owned(), Scope { netns: vec![Netns::held(POD)], cgroup: None });
    scanner.kernel = Fake::default();
    let found = scanner.snapshot(&BTreeMap::new(), None);
    assert_eq!(found, CapacitySnapshot::default());
}

#[test]
fn a_closed_listener_is_counted_before_it_is_forgotten() {
    let mut scanner = scanner(fixture(), Scope::default());
    scanner.kernel.seen = vec![ScannedListener { gone: true, ..listener(80, POD, 7) }];
    let found = scan(&mut scanner);
    assert_eq!(found.listeners.iter().map(|it| (it.overflows, it.sockets)).collect::<Vec<_>>(), [(7, 0)]);
    scanner.kernel.seen.clear();
    assert_eq!(scan(&mut scanner).listeners.len(), 1);
    assert!(scanner.queues.owners().is_empty());
}

#[test]
fn overflows_during_the_first_scan_are_not_taken_for_older() {
    let folder = copy();
    let proc = folder.path().join("proc");
    let mut scanner = scanner(proc.clone(), Scope::default());
    let met = |met_full| ScannedListener { met_full, ..listener(80, POD, 0) };
    scanner.kernel.seen = vec![met(5)];
    scanner.kernel.then = Some(Box::new(move || change(&proc, "77/net/netstat", " 7 7 ", " 11 11 ")));
    scan(&mut scanner);
    scanner.kernel.seen = vec![met(9)];
    let found = scan(&mut scanner);
    assert_eq!(found.listeners.iter().map(|it| it.overflows).collect::<Vec<_>>(), [9]);
    assert_eq!(found.unattributed_overflows, 0);
}

#[test]
fn a_listener_missed_by_one_scan_is_not_counted_twice() {
    let mut scanner = scanner(fixture(), Scope::default());
    scanner.kernel.seen = vec![listener(80, POD, 7)];
    scan(&mut scanner);
    let seen = std::mem::take(&mut scanner.kernel.seen);
    assert_eq!(scan(&mut scanner).listeners.iter().map(|it| it.overflows).collect::<Vec<_>>(), [7]);
    scanner.kernel.seen = seen;
    assert_eq!(scan(&mut scanner).listeners.iter().map(|it| it.overflows).collect::<Vec<_>>(), [7]);
    scanner.kernel.seen.clear();
    for _ in 0..=10 {
        scan(&mut scanner);
    }
    assert!(scanner.queues.owners().is_empty());
}
