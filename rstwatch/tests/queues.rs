//! Accept queues on loopback as the agent exports them, in cases that the lab does not cover.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, ipproto, listen, socket};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Whether BPF is expected to work here; otherwise prints why the test is skipped.
fn is_supported() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Write to stderr directly: the test harness captures `eprintln`.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
    }
    root
}

struct Agent {
    child: Child,
    /// Open until the agent ends, so that it can write.
    _log: BufReader<ChildStderr>,
    at: SocketAddr,
}

impl Agent {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rstwatch"))
            .args(["agent", "--web.listen-address", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let line = log.by_ref().lines().map_while(Result::ok).find(|line| line.contains("listening on http://"));
        let line = line.expect("it listens");
        let at = line.split("http://").nth(1).and_then(|url| url.split('/').next()).expect("an address");
        Self { child, _log: log, at: at.parse().expect("an address") }
    }

    fn metrics(&self) -> String {
        let request = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.at)?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let mut response = String::new();
            stream.read_to_string(&mut response)?;
            Ok(response)
        };
        request().unwrap_or_default()
    }

    /// Waits for a sample of a listener of this process.
    #[track_caller]
    fn wait_for_sample(&self, metric: &str, port: u16, value: &str) {
        let started = Instant::now();
        let port = format!("port=\"{port}\"");
        loop {
            let metrics = self.metrics();
            let start = format!("rstwatch_{metric}{{");
            let found = metrics.lines().find(|line| line.starts_with(&start) && line.contains(&port));
            if found.is_some_and(|line| line.ends_with(value)) {
                return;
            }
            assert!(started.elapsed() < TIMEOUT, "{metric} of {port} is not {value}: {found:?}");
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

/// A listener of a protocol with a backlog; `None` if the kernel does not support the protocol.
fn listener(protocol: rustix::net::Protocol, backlog: i32) -> Option<(OwnedFd, u16)> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, Some(protocol)).ok()?;
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("bound");
    listen(&listener, backlog).expect("listens");
    let at = SocketAddr::try_from(getsockname(&listener).expect("an address")).expect("an IP address");
    Some((listener, at.port()))
}

#[test]
fn listeners_older_than_the_agent_are_found() {
    if !is_supported() {
        return;
    }
    let (_tcp, tcp) = listener(ipproto::TCP, 3).expect("TCP");
    let mptcp = listener(ipproto::MPTCP, 5);
    let agent = Agent::start();
    agent.wait_for_sample("listen_queue_limit", tcp, " 3");
    match &mptcp {
        Some((_, port)) => agent.wait_for_sample("listen_queue_limit", *port, " 5"),
        None => _ = writeln!(std::io::stderr(), "skipped: this kernel has no MPTCP"),
    }
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).expect("connected");
    let (_younger, younger) = listener(ipproto::TCP, 4).expect("TCP");
    agent.wait_for_sample("listen_queue_length", tcp, " 1");
    agent.wait_for_sample("listen_queue_limit", younger, " 4");
}
