//! `--netns` shows one namespace, and never a later one that has its inode.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rstwatch::kernel::netns;
use rustix::process::{Pid, Signal, kill_process};

const RSTWATCH: &str = env!("CARGO_BIN_EXE_rstwatch");
/// How many namespaces are made until one has the inode of a deleted one. It is free for the next, unless others take it.
const TRIES: usize = 40;

/// Watches that are tried.
const ATTEMPTS: usize = 8;

/// Whether these tests can run on this host; otherwise prints why they are skipped.
fn is_supported() -> bool {
    let programs = ["/usr/bin/setpriv", "/bin/ip"].iter().all(|program| Path::new(program).exists());
    let supported = rustix::process::geteuid().is_root() && programs;
    if !supported {
        // Straight to stderr, because the test harness captures eprintln!.
        _ = writeln!(std::io::stderr(), "skipped: needs root, util-linux and iproute2");
    }
    supported
}

/// A named network namespace, deleted on drop.
struct Netns {
    name: String,
}

impl Netns {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rwt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let netns = Self { name };
        ip(&["-n", &netns.name, "link", "set", "lo", "up"]);
        netns
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    fn inode(&self) -> u64 {
        std::fs::metadata(self.path()).expect("it exists").ino()
    }

    /// A connection is refused inside: an RST is sent and received.
    fn refuse(&self) {
        let connect = "exec 3<>/dev/tcp/127.0.0.1/9";
        let mut refused = Command::new("ip");
        refused.args(["netns", "exec", &self.name, "bash", "-c", connect]).stderr(Stdio::null());
        assert!(!refused.status().expect("it starts").success(), "nothing listens there");
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().expect("it starts").success(), "{args:?}");
}

/// A running `rstwatch trace --json`.
struct Trace {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Trace {
    fn start(command: &mut Command, netns: &[&Netns]) -> Self {
        command.args(["trace", "--json", "--duration", "60s"]);
        netns.iter().for_each(|netns| _ = command.arg("--netns").arg(netns.path()));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut trace = Self { child, stderr };
        trace.wait_for_line("watching");
        trace
    }

    /// The next line on stderr that contains this part.
    #[track_caller]
    fn wait_for_line(&mut self, part: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("readable");
            assert_ne!(read, 0, "{part:?} is not in {all}");
            if line.contains(part) {
                return line;
            }
            all += &line;
        }
    }

    /// Ends it. Returns what it has printed: its events, and the rest of its messages.
    fn end(mut self) -> (String, String) {
        // What was sent just before is shown too: at its end a trace reads the rest of the ring.
        std::thread::sleep(Duration::from_millis(300));
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        let (mut events, mut messages) = (String::new(), String::new());
        self.child.stdout.take().expect("piped").read_to_string(&mut events).expect("text");
        self.stderr.read_to_string(&mut messages).expect("text");
        (events, messages)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The first new namespace that has this inode. The kernel gives the lowest that is free, some time after the old namespace
/// has gone.
fn reuse(inode: u64) -> Option<Netns> {
    let mut others = Vec::new();
    for _ in 0..TRIES {
        let next = Netns::new();
        if next.inode() == inode {
            return Some(next);
        }
        others.push(next);
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Namespaces of other tests would take the inode.
static ALONE: Mutex<()> = Mutex::new(());

fn refusals(events: &str) -> usize {
    events.lines().filter(|line| line.contains(r#""cause":"refused""#)).count()
}

/// As root its cookie is compared. The watch goes on with the other namespace.
#[test]
fn a_reused_inode_is_another_namespace() {
    if !is_supported() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let own = netns::Netns::resolve(&["/proc/self/ns/net".into()]).expect("own namespace");
    if !own.iter().all(netns::Netns::has_cookie) {
        _ = writeln!(std::io::stderr(), "skipped: this kernel does not tell cookies (Linux 5.14)");
        return;
    }
    assert!((0..ATTEMPTS).any(|_| is_told_apart()), "the kernel gave the inode to no namespace of this test");
}

/// Watches a namespace whose inode another gets. Returns whether this test got it: any namespace on the host may.
fn is_told_apart() -> bool {
    let (watched, other) = (Netns::new(), Netns::new());
    let inode = watched.inode();
    let mut trace = Trace::start(&mut Command::new(RSTWATCH), &[&watched, &other]);
    watched.refuse();
    drop(watched);
    let gone = trace.wait_for_line("is gone");
    assert!(!gone.contains("no other is watched"), "{gone}");
    let Some(later) = reuse(inode) else { return false };
    later.refuse();
    other.refuse();
    drop(later);
    let (events, messages) = trace.end();
    assert_eq!(refusals(&events), 4, "two of each watched namespace: {events}");
    assert!(!messages.contains("is gone"), "it is said once: {messages}");
    true
}

/// Without `CAP_SYS_ADMIN` a namespace is held open, so no other gets its inode.
#[test]
fn without_privileges_a_namespace_is_held() {
    if !is_supported() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let watched = Netns::new();
    let inode = watched.inode();
    let mut command = Command::new("setpriv");
    let mut trace = Trace::start(
        command.args(["--bounding-set", "-all,+bpf,+perfmon,+net_admin", "--inh-caps", "-all", RSTWATCH]),
        &[&watched],
    );
    watched.refuse();
    drop(watched);
    let lost = trace.wait_for_line("is no longer at this path");
    assert!(lost.contains("no other is watched"), "{lost}");
    assert!(reuse(inode).is_none(), "its inode is taken while it is held");
    assert_eq!(refusals(&trace.end().0), 2);
}
