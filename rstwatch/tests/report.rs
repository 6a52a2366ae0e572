//! `rstwatch report` and `rstwatch timeouts` with real resets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
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

/// A running command that watches; killed on drop if it has not ended.
struct Watching(Child);

impl Watching {
    /// Starts the command and waits until it is attached.
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rstwatch"));
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = Self(command.spawn().expect("it starts"));
        let mut line = String::new();
        BufReader::new(started.0.stderr.take().expect("piped")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("watching") && line.contains("press Ctrl-C to stop"), "{line}");
        started
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("signalled");
    }

    /// Waits for an exit without error. Returns its output.
    #[track_caller]
    fn output(mut self) -> String {
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
    let mut client = TcpStream::connect(to).expect("connected");
    let mut server = listener.accept().expect("accepted").0;
    // An abort before any payload would be a probe.
    client.write_all(b"x").expect("written");
    server.read_exact(&mut [0]).expect("read");
    (client, server)
}

/// close() with SO_LINGER 0.
fn abort(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("set");
    drop(stream);
}

/// Reads to the end of the connection. Returns whether it was reset.
fn is_reset(mut stream: &TcpStream) -> bool {
    stream.read_to_end(&mut Vec::new()).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn a_signal_ends_the_watch_early_and_prints_the_report() {
    if !can_load_bpf() {
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
        let found: Value = serde_json::from_str(&report.output()).expect("one object");
        assert_eq!((&found["resets"], &found["seen_at_both_ends"]), (&3.into(), &3.into()), "{found}");
        assert_eq!((&found["sent"], &found["received"]), (&3.into(), &3.into()), "{found}");
        let [only] = &found["causes"].as_array().expect("a list")[..] else { panic!("{found}") };
        assert_eq!((&only["cause"], &only["confidence"]["certain"]), (&"linger_abort".into(), &3.into()), "{found}");
        assert_eq!(found["change_first"][0]["what"], "linger_abort", "{found}");
    }
}

#[test]
fn a_watch_without_resets_ends_after_its_duration() {
    if !can_load_bpf() {
        return;
    }
    // No connection uses this port.
    let report = Watching::start(&["report", "--duration", "100ms", "--port", "1"]);
    let text = report.output();
    let head = text.split("\n\n").next().map(|head| head.replace('\n', " ")).expect("a first paragraph");
    assert!(head.contains("every network namespace, filtered") && head.ends_with("no resets"), "{text}");
}

/// A server closes a connection after two idle seconds, and its client uses the connection after that. The configuration
/// names this timeout.
#[test]
fn the_timeout_of_a_destination_is_inferred() {
    const IDLE: Duration = Duration::from_secs(2);
    if !can_load_bpf() {
        return;
    }
    let (listener, address) = listener();
    let config = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(config.path(), "[[timeout]]\nwho = \"this test\"\nseconds = 2\n").expect("written");
    let path = config.path().to_str().expect("UTF-8");
    let timeouts = Watching::start(&["timeouts", "--json", "--duration", "5m", "--config", path]);
    // Its output explains a failure.
    let trace = Watching::start(&["trace", "--json", "--port", &address.port().to_string()]);
    let (mut client, mut server) = pair(&listener, address);
    let mut word = [0; 4];
    client.write_all(b"ping").expect("written");
    server.read_exact(&mut word).expect("the request");
    server.write_all(b"pong").expect("written");
    client.read_exact(&mut word).expect("the answer");
    // The idle period.
    std::thread::sleep(IDLE);
    drop(server);
    assert_eq!(client.read(&mut word).expect("readable"), 0, "the FIN came");
    client.write_all(b"late").expect("written");
    assert!(is_reset(&client) || client.write_all(b"late").is_err(), "the connection was closed");
    timeouts.signal(Signal::INT);
    let found: Value = serde_json::from_str(&timeouts.output()).expect("one object");
    trace.signal(Signal::INT);
    let events = trace.output();
    let all = found["destinations"].as_array().expect("a list");
    let destination = all.iter().find(|it| it["peer"] == address.to_string()).expect("the server");
    let died = destination["died"]["seconds"].as_f64().expect("a time");
    assert!((1.99..2.4).contains(&died), "{destination}");
    assert_eq!(
        (&destination["died"]["exact"], &destination["reset_count"]),
        (&true.into(), &1.into()),
        "{destination} {events}"
    );
    assert_eq!(destination["timeout_candidates"][0]["who"], "this test", "{destination}");
}
