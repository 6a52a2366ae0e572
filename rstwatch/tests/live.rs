//! Resets on loopback as `rstwatch trace` reports them: cases that the lab does not cover.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Whether BPF programs can be loaded; prints that the test is skipped if not.
fn can_load_bpf() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Straight to stderr, because the test harness captures eprintln!.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
    }
    root
}

/// A running `rstwatch trace --json` for one port.
struct Trace {
    child: Child,
    events: BufReader<ChildStdout>,
    /// Events that came before the requested one: over loopback an RST may be received before it counts as sent.
    earlier: Vec<Value>,
    _stderr: BufReader<ChildStderr>,
}

impl Trace {
    /// Starts the trace. It ends after ten seconds, so that a test that waits for a missing event fails instead of hanging.
    fn start(port: u16, more: &[&str]) -> Self {
        let port = port.to_string();
        let args = ["trace", "--json", "--duration", "10s", "--port", &port];
        let mut child = Command::new(env!("CARGO_BIN_EXE_rstwatch"))
            .args(args)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let events = BufReader::new(child.stdout.take().expect("piped"));
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        assert!(line.starts_with("watching"), "{line}");
        Self { child, events, earlier: Vec::new(), _stderr: stderr }
    }

    /// The next event in this direction.
    #[track_caller]
    fn next(&mut self, direction: &str) -> Value {
        if let Some(at) = self.earlier.iter().position(|event| event["direction"] == direction) {
            return self.earlier.remove(at);
        }
        loop {
            let mut line = String::new();
            let read = self.events.read_line(&mut line).expect("readable");
            assert_ne!(read, 0, "no {direction} event came");
            let event: Value = serde_json::from_str(&line).expect("JSON");
            if event["direction"] == direction {
                return event;
            }
            self.earlier.push(event);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

struct Pair {
    client: TcpStream,
    server: TcpStream,
}

fn pair(listener: &TcpListener, to: SocketAddr) -> Pair {
    let client = TcpStream::connect(to).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    Pair { client, server }
}

/// close() with SO_LINGER 0, right after a write: after a silence it would be an idle timer's.
fn abort(mut stream: TcpStream) {
    stream.write_all(b"x").expect("written");
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("set");
    drop(stream);
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn sockets_older_than_the_trace_have_owner_and_role() {
    if !can_load_bpf() {
        return;
    }
    let (listener, address) = listener();
    let old = pair(&listener, address);
    let mut trace = Trace::start(address.port(), &[]);
    abort(old.client);
    let sent = trace.next("sent");
    assert_eq!((&sent["role"], &sent["cause"]), (&"client".into(), &"linger_abort".into()), "{sent}");
    assert_eq!(sent["age_ms"], Value::Null, "the handshake was not seen");
    let received = trace.next("received");
    assert_eq!(received["role"], "server", "{received}");
    assert_eq!(received["process"]["pid"], std::process::id(), "{received}");
}

#[test]
fn v4_mapped_sockets_are_reported_as_ipv4() {
    if !can_load_bpf() {
        return;
    }
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let mut trace = Trace::start(port, &[]);
    let pair = pair(&listener, SocketAddr::from(([127, 0, 0, 1], port)));
    abort(pair.server);
    let sent = trace.next("sent");
    assert_eq!((&sent["family"], &sent["local"]), (&"ipv4".into(), &format!("127.0.0.1:{port}").into()), "{sent}");
    assert_eq!(sent["role"], "server", "{sent}");
}

/// The stack sends RSTs in the context of whatever task is running; the owner is that of the socket.
#[test]
fn the_running_task_is_not_the_owner() {
    if !can_load_bpf() {
        return;
    }
    let (listener, address) = listener();
    let mut trace = Trace::start(address.port(), &[]);
    let Pair { mut client, server } = pair(&listener, address);
    drop(server);
    let mut end = [0; 1];
    assert_eq!(client.read(&mut end).expect("readable"), 0, "the FIN came");
    let status = Command::new("sh")
        .args(["-c", "echo late >&0"])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(client)))
        .status()
        .expect("it starts");
    assert!(status.success());
    let sent = trace.next("sent");
    assert_eq!(sent["cause"], "data_after_close", "{sent}");
    assert_eq!(sent["process"]["pid"], std::process::id(), "{sent}");
}

/// A new cgroup, removed on drop.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let mount = rstwatch::kernel::scope::cgroup2_mount()?;
        let path = mount.join(format!("rstwatch-test-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_cgroup_restricts_the_trace() {
    if !can_load_bpf() {
        return;
    }
    let Some(cgroup) = Cgroup::new() else {
        _ = writeln!(std::io::stderr(), "skipped: cannot create a cgroup (v2)");
        return;
    };
    let path = cgroup.0.to_str().expect("UTF-8");
    let (listener, address) = listener();
    let mut trace = Trace::start(address.port(), &["--cgroup", path]);
    // Outside: client and server both belong to this process.
    abort(pair(&listener, address).client);
    // Inside: bash connects from within the cgroup and is killed with data unread.
    let script = format!("echo $$ > {path}/cgroup.procs; exec 3<>/dev/tcp/127.0.0.1/{}; read -r line", address.port());
    let mut inside = Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("bash starts");
    let (mut server, peer) = listener.accept().expect("accepted");
    server.write_all(b"unread").expect("written");
    inside.kill().expect("killed");
    inside.wait().expect("ended");
    let sent = trace.next("sent");
    assert_eq!(sent["local"], peer.to_string(), "the first event is the one from inside: {sent}");
    assert_eq!(sent["cause"], "process_died", "{sent}");
}
