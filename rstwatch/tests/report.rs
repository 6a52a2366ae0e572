//! `rstwatch report` and `rstwatch timeouts` on real resets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Whether BPF may be expected to work; says so if not.
fn able() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Past the test harness, which would swallow it.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
    }
    root
}

/// A command that watches; killed if a test fails before it has ended.
struct Watching(Child);

impl Watching {
    /// Returns when it is attached.
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rstwatch"));
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = Self(command.spawn().expect("it starts"));
        let mut line = String::new();
        BufReader::new(started.0.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("watching") && line.contains("Ctrl-C ends"), "{line}");
        started
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("signalled");
    }

    /// What it prints until its orderly end.
    #[track_caller]
    fn prints(mut self) -> String {
        let mut text = String::new();
        self.0.stdout.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        let status = self.0.wait().expect("ended");
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn pair(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(to).expect("connected");
    (client, listener.accept().expect("accepted").0)
}

/// close() with SO_LINGER 0.
fn abort(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("set");
    drop(stream);
}

/// Reads until the reset is there; answers whether one was.
fn is_reset(mut stream: &TcpStream) -> bool {
    stream.read_to_end(&mut Vec::new()).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn a_signal_ends_it_early_and_it_reports() {
    if !able() {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let (listener, address) = listener();
        let port = address.port().to_string();
        let report = Watching::start(&["report", "--json", "--duration", "5m", "--port", &port]);
        for _ in 0..3 {
            let (client, server) = pair(&listener, address);
            abort(client);
            assert!(is_reset(&server));
        }
        report.signal(signal);
        let found: Value = serde_json::from_str(&report.prints()).expect("one object");
        assert_eq!((&found["resets"], &found["seen_at_both_ends"]), (&3.into(), &3.into()), "{found}");
        assert_eq!((&found["sent"], &found["received"]), (&3.into(), &3.into()), "{found}");
        let [only] = &found["causes"].as_array().expect("a list")[..] else { panic!("{found}") };
        assert_eq!((&only["cause"], &only["confidence"]["certain"]), (&"linger_abort".into(), &3.into()), "{found}");
        assert_eq!(found["change_first"][0]["what"], "linger_abort", "{found}");
    }
}

#[test]
fn a_quiet_watch_ends_by_time() {
    if !able() {
        return;
    }
    // Nothing has this port.
    let report = Watching::start(&["report", "--duration", "100ms", "--port", "1"]);
    let text = report.prints();
    let head = text.split("\n\n").next().map(|head| head.replace('\n', " ")).expect("a first paragraph");
    assert!(head.contains("every network namespace, filtered") && head.ends_with("no resets"), "{text}");
}

/// A server that closes after two seconds of silence, as a configuration says, and a client that comes back later.
#[test]
fn the_timeout_of_a_destination_is_bracketed() {
    const IDLE: Duration = Duration::from_secs(2);
    if !able() {
        return;
    }
    let (listener, address) = listener();
    let config = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(config.path(), "[[timeout]]\nwho = \"this test\"\nseconds = 2\n").expect("written");
    let path = config.path().to_str().expect("UTF-8");
    let timeouts = Watching::start(&["timeouts", "--json", "--duration", "5m", "--config", path]);
    // Says why, should the other be wrong.
    let trace = Watching::start(&["trace", "--json", "--port", &address.port().to_string()]);
    let (mut client, mut server) = pair(&listener, address);
    let mut word = [0; 4];
    client.write_all(b"ping").expect("written");
    server.read_exact(&mut word).expect("the request");
    server.write_all(b"pong").expect("written");
    client.read_exact(&mut word).expect("the answer");
    // The silence itself.
    std::thread::sleep(IDLE);
    drop(server);
    assert_eq!(client.read(&mut word).expect("readable"), 0, "the FIN came");
    client.write_all(b"late").expect("written");
    assert!(is_reset(&client) || client.write_all(b"late").is_err(), "it met a closed connection");
    timeouts.signal(Signal::INT);
    let found: Value = serde_json::from_str(&timeouts.prints()).expect("one object");
    trace.signal(Signal::INT);
    let why = trace.prints();
    let all = found["destinations"].as_array().expect("a list");
    let bracket = all.iter().find(|it| it["peer"] == address.to_string()).expect("the server");
    let died = bracket["died"]["seconds"].as_f64().expect("a time");
    assert!((1.99..2.4).contains(&died), "{bracket}");
    assert_eq!((&bracket["died"]["exact"], &bracket["reset_count"]), (&true.into(), &1.into()), "{bracket} {why}");
    assert_eq!(bracket["timeout_candidates"][0]["who"], "this test", "{bracket}");
}
