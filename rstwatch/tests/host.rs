//! Hosts that lack a feature, and that the agent leaves nothing behind in the kernel.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const RSTWATCH: &str = env!("CARGO_BIN_EXE_rstwatch");

/// Whether these tests can run on this host; otherwise prints why they are skipped.
fn is_supported() -> bool {
    let tools = ["/usr/bin/unshare", "/usr/bin/setpriv", "/usr/bin/mount"].iter().all(|tool| Path::new(tool).exists());
    if !rustix::process::geteuid().is_root() || !tools {
        // Write to stderr directly: the test harness captures `eprintln`.
        _ = writeln!(std::io::stderr(), "skipped: needs root and util-linux");
        return false;
    }
    true
}

/// Runs a script in a private mount namespace.
fn in_private_mounts(script: &str) -> Output {
    let script = script.replace("RSTWATCH", RSTWATCH);
    Command::new("unshare").args(["--mount", "sh", "-ec", &script]).output().expect("unshare starts")
}

#[track_caller]
fn assert_one_line(output: &Output, parts: &[&str]) {
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}

#[test]
fn no_btf_is_one_line() {
    if !is_supported() {
        return;
    }
    let output = in_private_mounts("mount -t tmpfs none /sys/kernel/btf; exec RSTWATCH trace --duration 1s");
    assert_one_line(&output, &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
    let output = in_private_mounts("mount -t tmpfs none /sys/kernel/btf; exec RSTWATCH check");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("CONFIG_DEBUG_INFO_BTF"));
}

#[test]
fn no_privileges_is_one_line() {
    if !is_supported() {
        return;
    }
    let unprivileged =
        ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all"];
    // The directory of the binary may be inaccessible to other users.
    let copy = tempfile::Builder::new().prefix("rstwatch").tempdir_in("/tmp").expect("folder");
    let binary = copy.path().join("rstwatch");
    std::fs::copy(RSTWATCH, &binary).expect("copied");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(copy.path(), open).expect("opened");
    let output = Command::new("setpriv").args(unprivileged).arg(&binary).arg("trace").output().expect("setpriv starts");
    assert_one_line(&output, &["not permitted without CAP_BPF and CAP_PERFMON", "rstwatch check"]);
}

/// Without cgroup v2 the headers of received RSTs may be missing, but the agent runs.
#[test]
fn no_cgroup2_degrades() {
    if !is_supported() {
        return;
    }
    let script =
        "for m in $(awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts); do umount -l \"$m\"; done; exec RSTWATCH check";
    let output = in_private_mounts(script);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{report}");
    let by_fentry = report.lines().any(|line| line.trim() == "tcp_reset");
    assert!(by_fentry || report.contains("cgroup v2 is not mounted"), "{report}");
}

/// rstwatch does not use tracefs.
#[test]
fn no_tracefs_does_not_matter() {
    if !is_supported() {
        return;
    }
    let output = in_private_mounts("mount -t tmpfs none /sys/kernel/tracing; exec RSTWATCH check");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Ids of the eBPF programs for which a process holds descriptors.
fn programs_of(pid: u32) -> Vec<u32> {
    // The process may have ended.
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten();
    let infos = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    infos.filter_map(|info| program_id(&info)).collect()
}

fn program_id(fdinfo: &str) -> Option<u32> {
    fdinfo.lines().find_map(|line| line.strip_prefix("prog_id:")).and_then(|id| id.trim().parse().ok())
}

/// Those of these programs that are still loaded.
fn still_loaded(ids: &[u32]) -> Vec<u32> {
    let loaded: Vec<u32> = aya::programs::loaded_programs().flatten().map(|program| program.id()).collect();
    ids.iter().copied().filter(|id| loaded.contains(id)).collect()
}

/// A running command that is killed even if the test fails.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn watching() -> Watching {
    let mut trace = Command::new(RSTWATCH);
    let child = trace.arg("trace").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
    let mut watching = Watching(child);
    let mut line = String::new();
    let stderr = watching.0.stderr.take().expect("piped");
    BufReader::new(stderr).read_line(&mut line).expect("a line");
    assert!(line.starts_with("watching"), "{line}");
    watching
}

/// Our loaded programs for which no process holds a descriptor: pinned, or attached without an owner. Programs of other
/// instances on this host have a process.
fn orphans() -> BTreeSet<u32> {
    let mut left: BTreeSet<_> = ours().collect();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        programs_of(pid).iter().for_each(|id| _ = left.remove(id));
    }
    left
}

/// Ids of loaded programs with our names.
fn ours() -> impl Iterator<Item = u32> {
    let all = aya::programs::loaded_programs().flatten();
    all.filter(|program| program.name_as_str().is_some_and(is_ours)).map(|program| program.id())
}

/// Our program names, truncated as by the kernel (BPF_OBJ_NAME_LEN, 15 characters).
fn is_ours(name: &str) -> bool {
    ["tcp_send_reset", "tcp_receive_res", "inet_sock_set_s", "ingress", "kfree_skb", "sample", "listeners", "tasks"]
        .contains(&name)
}

/// Waits until no program is left; the kernel frees programs after a grace period.
#[track_caller]
fn wait_until_none(what: &str, mut left: impl FnMut() -> Vec<u32>) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let ids = left();
        if ids.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {ids:?} are still loaded");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn kill_9_leaves_nothing_attached() {
    if !is_supported() {
        return;
    }
    let mut trace = watching();
    let child = &mut trace.0;
    let programs = programs_of(child.id());
    assert!(programs.len() >= 3, "three probes are required: {programs:?}");
    assert_eq!(still_loaded(&programs), programs, "loaded programs are listed");
    assert!(ours().filter(|id| programs.contains(id)).count() >= 3, "and recognized by their names");
    kill_process(Pid::from_child(child), Signal::KILL).expect("killed");
    child.wait().expect("ended");
    wait_until_none("killed while it watched", || still_loaded(&programs));
}

/// Makes connections that are refused, as fast as possible, until dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Flood {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("bound");
        let flood = move || {
            let mut refused = 0;
            while !until.load(Ordering::Relaxed) {
                refused += u64::from(TcpStream::connect(closed).is_err());
            }
            refused
        };
        Self { stop, thread: Some(std::thread::spawn(flood)) }
    }

    /// Stops, and returns how many were refused.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("once").join().expect("no panic")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts the agent; returns it and its log.
fn agent() -> (Watching, impl Iterator<Item = String>) {
    let mut agent = Command::new(RSTWATCH);
    agent.args(["agent", "--web.listen-address", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut agent = Watching(agent.spawn().expect("starts"));
    let log = BufReader::new(agent.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    (agent, log)
}

/// Kills the agent, and returns the programs that it held.
fn kill(mut agent: Watching) -> Vec<u32> {
    // Stop it first, so that it loads no more. It may have ended by itself.
    _ = kill_process(Pid::from_child(&agent.0), Signal::STOP);
    let programs = programs_of(agent.0.id());
    agent.0.kill().expect("killed");
    agent.0.wait().expect("ended");
    programs
}

/// Kills the agent while it loads, attaches, gives up its capabilities, runs under a flood, and ends.
#[test]
fn kill_9_at_any_moment_leaves_nothing_attached() {
    const ROUNDS: u32 = 8;
    if !is_supported() {
        return;
    }
    let flood = Flood::start();
    let began = Instant::now();
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        let (agent, mut log) = agent();
        log.find(|line| line.contains("locked down")).expect("it attaches");
        std::thread::sleep(Duration::from_millis(u64::from(round) * 7));
        if round % 2 == 1 {
            kill_process(Pid::from_child(&agent.0), Signal::TERM).expect("it runs");
            std::thread::sleep(Duration::from_millis(u64::from(round)));
        }
        seen.extend(kill(agent));
    }
    // Spread over the time that starting takes on this host.
    let start = began.elapsed() / ROUNDS;
    for round in 0..ROUNDS {
        let (agent, _log) = agent();
        std::thread::sleep(start * round / ROUNDS);
        seen.extend(kill(agent));
    }
    assert!(flood.end() > 0);
    assert!(seen.len() >= 3, "none had loaded anything: {seen:?}");
    let seen: Vec<_> = seen.into_iter().collect();
    wait_until_none("killed at any moment", || still_loaded(&seen));
    // Ignore programs that are orphans only briefly, between being loaded and getting a descriptor.
    wait_until_none("orphans", || {
        let first = orphans();
        std::thread::sleep(Duration::from_millis(200));
        orphans().intersection(&first).copied().collect()
    });
}

/// The numbers in a log line.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[test]
fn a_flood_is_counted_to_the_end() {
    if !is_supported() {
        return;
    }
    let (mut agent, mut log) = agent();
    log.find(|line| line.contains("locked down")).expect("it attaches");
    let first = Flood::start();
    std::thread::sleep(Duration::from_secs(1));
    let refused = first.end();
    // Another flood continues beyond the end.
    let _second = Flood::start();
    std::thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&agent.0), Signal::TERM).expect("it runs");
    let last = log.find(|line| line.contains("ended: ")).expect("it logs its counts");
    assert!(agent.0.wait().expect("ended").success());
    let (_, sums) = last.split_once("ended: ").expect("found above");
    let [sent, received, _, counted_sent, counted_received] = numbers(sums)[..] else { panic!("{last}") };
    assert_eq!((sent, received), (counted_sent, counted_received), "{last}");
    // Both ends of each refused connection are on this host.
    assert!(sent > refused && received > refused, "{refused} refused: {last}");
}

/// A program that the verifier rejects silently degrades the evidence, so this kernel must reject none.
#[test]
fn the_verifier_of_this_kernel_accepts_every_program() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_rstwatch")).arg("check").output().expect("rstwatch check");
    let report = String::from_utf8_lossy(&output.stdout);
    // EINVAL and E2BIG come from the verifier (kernel/bpf/verifier.c); a policy causes EPERM.
    for error in ["Invalid argument", "Argument list too long"] {
        assert!(!report.contains(error), "{report}");
    }
}

/// `timeouts` knows whether the probe that it depends on is attached.
#[test]
fn timeouts_knows_whether_survived_gaps_are_measured() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let run =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_rstwatch")).args(args).output().expect("rstwatch").stdout;
    let check = String::from_utf8(run(&["check"])).expect("text");
    let sampled = check.lines().any(|line| line.trim() == "task_file_looks");
    assert!(sampled || check.contains("task_file_looks "), "the probe has a line: {check}");
    let found: serde_json::Value =
        serde_json::from_slice(&run(&["timeouts", "--json", "--duration", "1s"])).expect("JSON");
    assert_eq!(found["survived_measured"], sampled);
}
