//! Privileges: the documented capabilities are enough, and almost none are left after the lockdown.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

const RSTWATCH: &str = env!("CARGO_BIN_EXE_rstwatch");
const TIMEOUT: Duration = Duration::from_secs(20);

/// Whether these tests can run on this host; otherwise prints why they are skipped.
fn is_supported() -> bool {
    let supported = rustix::process::geteuid().is_root() && Path::new("/usr/bin/setpriv").exists();
    if !supported {
        // Write to stderr directly: the test harness captures `eprintln`.
        _ = writeln!(std::io::stderr(), "skipped: needs root and util-linux");
    }
    supported
}

/// A running command that is killed even if the test fails.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, stderr }
    }

    /// Starts an agent on a port that the kernel picks; returns its address once it is locked down.
    #[track_caller]
    fn start_agent(command: &mut Command) -> (Self, SocketAddr) {
        let mut agent = Self::start(command.args(["--web.listen-address", "127.0.0.1:0"]));
        let line = agent.wait_for_line("listening on http://");
        let address = line.split("http://").nth(1).and_then(|url| url.split('/').next()).expect("an address");
        agent.wait_for_line("locked down: ");
        (agent, address.parse().expect("an address"))
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

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn get(at: SocketAddr, path: &str) -> String {
    let request = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    };
    request().unwrap_or_default()
}

/// Repeats a request until the response meets the condition.
#[track_caller]
fn wait_for_response(at: SocketAddr, path: &str, is_expected: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let response = get(at, path);
        if is_expected(&response) {
            return response;
        }
        assert!(Instant::now() < deadline, "{response}");
        sleep(Duration::from_millis(100));
    }
}

/// The value of a field of `/proc/PID/task/TID/status`, for each thread.
fn threads(pid: u32, name: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let value = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    };
    statuses.filter_map(value).collect()
}

#[track_caller]
fn assert_locked_down(pid: u32, at_least: usize) {
    let none = "0000000000000000";
    // Kernels before 5.19 may require a capability to read maps. The commands keep what the library computes here.
    let held = format!("{:016x}", rstwatch::sandbox::capabilities::to_keep().bits());
    let set_pcap = capabilities(None).expect("readable").effective.contains(CapabilitySet::SETPCAP);
    for (name, expected) in [
        ("CapEff", held.as_str()),
        ("CapPrm", &held),
        ("CapInh", none),
        ("CapAmb", none),
        ("CapBnd", none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        if name == "CapBnd" && !set_pcap {
            continue;
        }
        let all = threads(pid, name);
        assert!(all.len() >= at_least, "{all:?}");
        assert!(all.iter().all(|value| value == expected), "{name}: {all:?}");
    }
}

#[test]
fn every_thread_of_every_command_is_locked_down() {
    if !is_supported() {
        return;
    }
    for (args, ready, at_least) in [
        (vec!["trace"], "watching", 3),
        (vec!["report", "--duration", "60s"], "watching", 3),
        (vec!["timeouts", "--duration", "60s"], "watching", 3),
    ] {
        let mut running = Running::start(Command::new(RSTWATCH).args(&args));
        running.wait_for_line(ready);
        assert_locked_down(running.child.id(), at_least);
        running.signal(Signal::TERM);
        assert!(running.child.wait().expect("ended").success(), "{args:?}");
    }
    let (agent, at) = Running::start_agent(Command::new(RSTWATCH).arg("agent"));
    wait_for_response(at, "/readyz", |response| response.contains("ready"));
    assert_locked_down(agent.child.id(), 5);
}

/// A copy of `rstwatch` that every user may run.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rstwatch").tempdir_in("/tmp").expect("folder");
        std::fs::copy(RSTWATCH, folder.path().join("rstwatch")).expect("copied");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("opened");
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("rstwatch")
    }

    /// The command as an unprivileged user with these capabilities, and no means to gain others.
    fn unprivileged(&self, with: &str) -> Command {
        let mut command = Command::new("setpriv");
        let sets = format!("-all,{with}");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", &sets]);
        // As systemd and Kubernetes do.
        command.args(["--inh-caps", &sets, "--ambient-caps", &sets, "--no-new-privs"]).arg(self.path());
        command
    }
}

/// Names of the attached probes.
fn attached(check: &mut Command) -> BTreeSet<String> {
    let output = check.arg("check").output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let rows =
        text.lines().skip_while(|line| *line != "  attached").skip(1).take_while(|line| line.starts_with("    "));
    rows.filter_map(|row| row.split_whitespace().next()).map(str::to_owned).collect()
}

/// The capabilities that are documented for this kernel.
fn documented(probes: &BTreeSet<String>) -> &'static str {
    if probes.contains("cgroup_skb") { "+bpf,+perfmon,+net_admin" } else { "+bpf,+perfmon" }
}

/// A listener in another network namespace, which only its thread is in; ends when dropped.
struct OtherNetns {
    _stop: mpsc::Sender<()>,
    port: u16,
}

impl OtherNetns {
    fn new() -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (port_sender, port) = mpsc::channel();
        std::thread::spawn(move || {
            // SAFETY: a new network namespace affects neither memory nor file descriptors.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may");
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bound");
            port_sender.send(listener.local_addr().expect("an address").port()).expect("awaited");
            _ = stopped.recv();
        });
        Self { _stop: stop, port: port.recv().expect("it listens") }
    }
}

/// Connects, and closes the connection with an RST.
fn abort(to: SocketAddr) {
    let mut client = TcpStream::connect(to).expect("connected");
    // An abort before any payload would be a probe.
    client.write_all(b"x").expect("written");
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("set");
}

#[test]
fn the_documented_capabilities_are_enough() {
    if !is_supported() {
        return;
    }
    let copy = Copy::new();
    let as_root = attached(&mut Command::new(copy.path()));
    let with = documented(&as_root);
    assert_eq!(attached(&mut copy.unprivileged(with)), as_root, "{with}");

    let other_netns = OtherNetns::new();
    let (mut agent, at) = Running::start_agent(copy.unprivileged(with).arg("agent"));
    let port = format!("port=\"{}\"", other_netns.port);
    let metrics = wait_for_response(at, "/metrics", |metrics| metrics.contains(&port));
    assert!(metrics.contains("rstwatch_netns{state=\"unreadable\"} 0"), "{metrics}");

    agent.signal(Signal::TERM);
    agent.wait_for_line("ended: ");
    assert!(agent.child.wait().expect("ended").success());

    // Only of this namespace: a busy host has more resets than the rate of details allows.
    let args = ["agent", "--netns", "/proc/self/ns/net"];
    let (mut agent, at) = Running::start_agent(copy.unprivileged(with).args(args));
    wait_for_response(at, "/readyz", |response| response.contains("ready"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = listener.local_addr().expect("an address");
    wait_for_response(at, "/api/v1/events?cause=linger_abort", |events| {
        abort(address);
        events.contains(&address.to_string())
    });
    agent.signal(Signal::TERM);
    agent.wait_for_line("ended: ");
    assert!(agent.child.wait().expect("ended").success());
}

/// File capabilities, for starting it by hand.
#[test]
fn file_capabilities_are_enough() {
    let Some(setcap) = ["/usr/sbin/setcap", "/sbin/setcap"].into_iter().find(|path| Path::new(path).exists()) else {
        _ = writeln!(std::io::stderr(), "skipped: needs setcap (libcap2-bin)");
        return;
    };
    if !is_supported() {
        return;
    }
    let copy = Copy::new();
    let as_root = attached(&mut Command::new(copy.path()));
    let mut give = Command::new(setcap);
    give.arg("cap_bpf,cap_perfmon,cap_net_admin=ep").arg(copy.path());
    if !give.status().expect("it starts").success() {
        _ = writeln!(std::io::stderr(), "skipped: files in /tmp cannot have capabilities");
        return;
    }
    let unprivileged = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all"]);
        command.arg(copy.path());
        command
    };
    assert_eq!(attached(&mut unprivileged()), as_root);
    let other_netns = OtherNetns::new();
    let (_agent, at) = Running::start_agent(unprivileged().arg("agent"));
    let port = format!("port=\"{}\"", other_netns.port);
    wait_for_response(at, "/metrics", |metrics| metrics.contains(&port));
}

/// Without CAP_NET_ADMIN everything else works.
#[test]
fn two_capabilities_are_enough_to_run() {
    if !is_supported() {
        return;
    }
    let copy = Copy::new();
    let mut without = attached(&mut Command::new(copy.path()));
    let replaced = without.remove("cgroup_skb");
    assert_eq!(attached(&mut copy.unprivileged("+bpf,+perfmon")), without);
    let report = copy.unprivileged("+bpf,+perfmon").arg("check").output().expect("it starts");
    let report = String::from_utf8(report.stdout).expect("text");
    let row = report.lines().find(|line| line.contains("CAP_NET_ADMIN  no")).expect("its row");
    assert_eq!(row.contains("not needed here"), !replaced, "{row}");
    assert!(report.contains("The agent can run here"), "{report}");
}

/// The configuration can be read again after the lockdown.
#[test]
fn a_configuration_is_reloaded_after_the_lockdown() {
    if !is_supported() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let config = folder.path().join("rstwatch.toml");
    std::fs::write(&config, "workload_limit = 10\n").expect("written");
    let (mut agent, at) = Running::start_agent(Command::new(RSTWATCH).args(["agent", "--config"]).arg(&config));
    wait_for_response(at, "/readyz", |response| response.contains("ready"));
    // As editors and Kubernetes do: another file replaces it.
    let replace = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &config).expect("renamed");
    };
    replace("workload_limit = 11\n");
    agent.signal(Signal::HUP);
    let read = format!("configuration read from {}", config.display());
    let line = agent.wait_for_line(&read);
    assert!(line.trim_end().ends_with(&read), "and no setting requires a restart: {line}");
    replace("workload_limit = 11\nlistener_series = 7\n");
    agent.signal(Signal::HUP);
    let line = agent.wait_for_line(&read);
    assert!(line.contains("the other changes need a restart"), "{line}");
    replace("workload_limit = 0\n");
    agent.signal(Signal::HUP);
    agent.wait_for_line("keeping the previous configuration");
}

/// As the kubelet does: the file is a link into `..data`, which is replaced as a whole.
#[test]
fn a_web_configuration_is_replaced_after_the_lockdown() {
    if !is_supported() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, folder.path().join(at)).expect("linked");
    for (version, header) in [("..1", "deny"), ("..2", "sameorigin")] {
        std::fs::create_dir(folder.path().join(version)).expect("made");
        let text = format!("http_server_config:\n  headers:\n    X-Frame-Options: {header}\n");
        std::fs::write(folder.path().join(version).join("web.yml"), text).expect("written");
    }
    link("..1", "..data");
    link("..data/web.yml", "web.yml");
    // Through the link to the file, and through the link to its directory.
    let agents = ["web.yml", "..data/web.yml"].map(|path| {
        let args = ["agent", "--web.config.file"];
        Running::start_agent(Command::new(RSTWATCH).args(args).arg(folder.path().join(path)))
    });
    for (agent, at) in &agents {
        wait_for_response(*at, "/healthz", |response| response.contains("x-frame-options: deny"));
        assert_locked_down(agent.child.id(), 3);
    }
    link("..2", "..data_tmp");
    std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).expect("swapped");
    std::fs::remove_dir_all(folder.path().join("..1")).expect("removed");
    for (_, at) in &agents {
        wait_for_response(*at, "/healthz", |response| response.contains("x-frame-options: sameorigin"));
    }
}
