//! Accept queues on loopback, as the agent shows them: what the lab does not ask.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, ipproto, listen, socket};

const PATIENCE: Duration = Duration::from_secs(20);

/// Whether BPF may be expected to work; says so if not.
fn able() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Past the test harness, which would swallow it.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
    }
    root
}

struct Agent {
    child: Child,
    at: SocketAddr,
}

impl Agent {
    fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let at = free.local_addr().expect("an address");
        drop(free);
        let child = Command::new(env!("CARGO_BIN_EXE_rstwatch"))
            .args(["agent", "--web.listen-address", &at.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self { child, at }
    }

    fn metrics(&self) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.at)?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }

    /// Waits for a sample of a listener of this process.
    #[track_caller]
    fn shows(&self, metric: &str, port: u16, value: &str) {
        let started = Instant::now();
        let port = format!("port=\"{port}\"");
        loop {
            let metrics = self.metrics();
            let start = format!("rstwatch_{metric}{{");
            let found = metrics.lines().find(|line| line.starts_with(&start) && line.contains(&port));
            if found.is_some_and(|line| line.ends_with(value)) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{metric} of {port} is not {value}: {found:?}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A listener of a protocol, with a backlog; none where the kernel does not speak it.
fn listener(protocol: rustix::net::Protocol, backlog: i32) -> Option<(OwnedFd, u16)> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, Some(protocol)).ok()?;
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("bound");
    listen(&listener, backlog).expect("listens");
    let at = SocketAddr::try_from(getsockname(&listener).expect("an address")).expect("an IP address");
    Some((listener, at.port()))
}

#[test]
fn listeners_older_than_the_agent_are_found() {
    if !able() {
        return;
    }
    let (_tcp, tcp) = listener(ipproto::TCP, 3).expect("TCP");
    let mptcp = listener(ipproto::MPTCP, 5);
    let agent = Agent::start();
    agent.shows("listen_queue_limit", tcp, " 3");
    match &mptcp {
        Some((_, port)) => agent.shows("listen_queue_limit", *port, " 5"),
        None => _ = writeln!(std::io::stderr(), "skipped: this kernel has no MPTCP"),
    }
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).expect("connected");
    let (_younger, younger) = listener(ipproto::TCP, 4).expect("TCP");
    agent.shows("listen_queue_length", tcp, " 1");
    agent.shows("listen_queue_limit", younger, " 4");
}
