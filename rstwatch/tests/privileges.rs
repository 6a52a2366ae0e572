//! What the commands may do: enough with the capabilities that are documented, and next to nothing once they watch.

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
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether these tests can be run on this host; says so if not.
fn able() -> bool {
    let able = rustix::process::geteuid().is_root() && Path::new("/usr/bin/setpriv").exists();
    if !able {
        // Past the test harness, which would swallow it.
        _ = writeln!(std::io::stderr(), "skipped: needs root and util-linux");
    }
    able
}

/// A command that does not outlive a test that fails.
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

    /// The next line on stderr that holds this.
    #[track_caller]
    fn says(&mut self, part: &str) -> String {
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

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).expect("bound")
}

fn get(at: SocketAddr, path: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

/// Asks until the answer is as it should be.
#[track_caller]
fn await_answer(at: SocketAddr, path: &str, good: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(at, path);
        if good(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer}");
        sleep(Duration::from_millis(100));
    }
}

/// Of each thread what /proc says under this name.
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
fn locked_down(pid: u32, at_least: usize) {
    let none = "0000000000000000";
    // A kernel before 5.19 may want one to read maps. The commands hold what the tests hold.
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
    if !able() {
        return;
    }
    for (args, ready, at_least) in [
        (vec!["trace"], "watching", 3),
        (vec!["report", "--duration", "60s"], "watching", 3),
        (vec!["timeouts", "--duration", "60s"], "watching", 3),
    ] {
        let mut running = Running::start(Command::new(RSTWATCH).args(&args));
        running.says(ready);
        locked_down(running.child.id(), at_least);
        running.signal(Signal::TERM);
        assert!(running.child.wait().expect("ended").success(), "{args:?}");
    }
    let at = free();
    let mut agent = Running::start(Command::new(RSTWATCH).args(["agent", "--web.listen-address", &at.to_string()]));
    agent.says("locked down: ");
    await_answer(at, "/readyz", |answer| answer.contains("ready"));
    locked_down(agent.child.id(), 5);
}

/// `rstwatch`, where everybody may run it.
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

    /// The command as nobody, with these capabilities and no way to others.
    fn nobody(&self, with: &str) -> Command {
        let mut command = Command::new("setpriv");
        let sets = format!("-all,{with}");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", &sets]);
        // As systemd and Kubernetes do it.
        command.args(["--inh-caps", &sets, "--ambient-caps", &sets, "--no-new-privs"]).arg(self.path());
        command
    }
}

/// Names of the probes that are attached.
fn attached(check: &mut Command) -> BTreeSet<String> {
    let output = check.arg("check").output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let rows =
        text.lines().skip_while(|line| *line != "  attached").skip(1).take_while(|line| line.starts_with("    "));
    rows.filter_map(|row| row.split_whitespace().next()).map(str::to_owned).collect()
}

/// The capabilities that the documentation names for this kernel.
fn documented(probes: &BTreeSet<String>) -> &'static str {
    if probes.contains("cgroup_skb") { "+bpf,+perfmon,+net_admin" } else { "+bpf,+perfmon" }
}

/// A listener whose thread is alone in a network namespace, until it is dropped.
struct Elsewhere {
    _stop: mpsc::Sender<()>,
    port: u16,
}

impl Elsewhere {
    fn new() -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            // SAFETY: a namespace of the network alone leaves memory and files as they are.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may");
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bound");
            tell.send(listener.local_addr().expect("an address").port()).expect("awaited");
            _ = stopped.recv();
        });
        Self { _stop: stop, port: told.recv().expect("it listens") }
    }
}

/// Connects, and ends that by a reset.
fn abort(to: SocketAddr) {
    let client = TcpStream::connect(to).expect("connected");
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("set");
}

#[test]
fn the_documented_capabilities_are_enough() {
    if !able() {
        return;
    }
    let copy = Copy::new();
    let as_root = attached(&mut Command::new(copy.path()));
    let with = documented(&as_root);
    assert_eq!(attached(&mut copy.nobody(with)), as_root, "{with}");

    let elsewhere = Elsewhere::new();
    let at = free();
    let mut agent = Running::start(copy.nobody(with).args(["agent", "--web.listen-address", &at.to_string()]));
    agent.says("locked down: ");
    let port = format!("port=\"{}\"", elsewhere.port);
    let metrics = await_answer(at, "/metrics", |metrics| metrics.contains(&port));
    assert!(metrics.contains("rstwatch_netns{state=\"unreadable\"} 0"), "{metrics}");

    agent.signal(Signal::TERM);
    agent.says("ended: ");
    assert!(agent.child.wait().expect("ended").success());

    // Of this namespace alone: a busy host has more resets than are told one by one.
    let at = free();
    let args = ["agent", "--netns", "/proc/self/ns/net", "--web.listen-address", &at.to_string()];
    let mut agent = Running::start(copy.nobody(with).args(args));
    agent.says("locked down: ");
    await_answer(at, "/readyz", |answer| answer.contains("ready"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = listener.local_addr().expect("an address");
    await_answer(at, "/api/v1/events?cause=linger_abort", |events| {
        abort(address);
        events.contains(&address.to_string())
    });
    agent.signal(Signal::TERM);
    agent.says("ended: ");
    assert!(agent.child.wait().expect("ended").success());
}

/// Of the file, for who starts it by hand.
#[test]
fn capabilities_of_the_file_are_enough() {
    let Some(setcap) = ["/usr/sbin/setcap", "/sbin/setcap"].into_iter().find(|path| Path::new(path).exists()) else {
        _ = writeln!(std::io::stderr(), "skipped: needs setcap (libcap2-bin)");
        return;
    };
    if !able() {
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
    let nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all"]);
        command.arg(copy.path());
        command
    };
    assert_eq!(attached(&mut nobody()), as_root);
    let elsewhere = Elsewhere::new();
    let at = free();
    let mut agent = Running::start(nobody().args(["agent", "--web.listen-address", &at.to_string()]));
    agent.says("locked down: ");
    let port = format!("port=\"{}\"", elsewhere.port);
    await_answer(at, "/metrics", |metrics| metrics.contains(&port));
}

/// Without CAP_NET_ADMIN the rest goes on.
#[test]
fn two_capabilities_are_enough_to_run() {
    if !able() {
        return;
    }
    let copy = Copy::new();
    let mut without = attached(&mut Command::new(copy.path()));
    let stood_in = without.remove("cgroup_skb");
    assert_eq!(attached(&mut copy.nobody("+bpf,+perfmon")), without);
    let said = copy.nobody("+bpf,+perfmon").arg("check").output().expect("it starts");
    let said = String::from_utf8(said.stdout).expect("text");
    let row = said.lines().find(|line| line.contains("CAP_NET_ADMIN  no")).expect("its row");
    assert_eq!(row.contains("not needed here"), !stood_in, "{row}");
    assert!(said.contains("The agent can run here"), "{said}");
}

/// The configuration is read again, though little else may be.
#[test]
fn a_configuration_is_reloaded_after_the_lockdown() {
    if !able() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let config = folder.path().join("rstwatch.toml");
    std::fs::write(&config, "workload_limit = 10\n").expect("written");
    let at = free();
    let mut agent = Running::start(
        Command::new(RSTWATCH).args(["agent", "--web.listen-address", &at.to_string(), "--config"]).arg(&config),
    );
    agent.says("locked down: ");
    await_answer(at, "/readyz", |answer| answer.contains("ready"));
    // As editors and Kubernetes do it: another file takes its place.
    let replace = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &config).expect("renamed");
    };
    replace("workload_limit = 11\n");
    agent.signal(Signal::HUP);
    let read = format!("configuration read from {}", config.display());
    let line = agent.says(&read);
    assert!(line.trim_end().ends_with(&read), "and nothing wants a restart: {line}");
    replace("workload_limit = 11\nlistener_series = 7\n");
    agent.signal(Signal::HUP);
    let line = agent.says(&read);
    assert!(line.contains("change with a restart only"), "{line}");
    replace("workload_limit = 0\n");
    agent.signal(Signal::HUP);
    agent.says("keeping the previous configuration");
}

/// As a kubelet does it: the file is a link into `..data`, which is swapped as a whole.
#[test]
fn a_web_configuration_is_swapped_after_the_lockdown() {
    if !able() {
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
    // By the link of a file, and by that of its folder.
    let [mut by_file, mut by_folder] = ["web.yml", "..data/web.yml"].map(|path| {
        let at = free();
        let args = ["agent", "--web.listen-address", &at.to_string(), "--web.config.file"];
        (at, Running::start(Command::new(RSTWATCH).args(args).arg(folder.path().join(path))))
    });
    for (at, agent) in [&mut by_file, &mut by_folder] {
        agent.says("locked down: ");
        await_answer(*at, "/healthz", |answer| answer.contains("x-frame-options: deny"));
        locked_down(agent.child.id(), 3);
    }
    link("..2", "..data_tmp");
    std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).expect("swapped");
    std::fs::remove_dir_all(folder.path().join("..1")).expect("removed");
    for (at, _) in [&by_file, &by_folder] {
        await_answer(*at, "/healthz", |answer| answer.contains("x-frame-options: sameorigin"));
    }
}
