//! The program as users run it: exit codes, error lines, signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn rstwatch(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rstwatch"));
    command.args(args).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    rstwatch(args).output().expect("it starts")
}

/// Expects an exit with this code and exactly one line on stderr. Returns the line.
#[track_caller]
fn error_line(args: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = run(args);
    let line = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(code), "{line}");
    assert!(stdout.is_empty());
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("rstwatch: "), "{line}");
    line.trim_end().to_owned()
}

/// Whether BPF programs can be loaded; prints that the test is skipped if not.
fn can_load_bpf() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Straight to stderr, because the test harness captures eprintln!.
        _ = writeln!(std::io::stderr(), "skipped: needs root");
    }
    root
}

#[test]
fn usage_errors_are_one_line_and_exit_2() {
    let line = error_line(&["trace", "--frobnicate"], 2);
    assert!(line.contains("--frobnicate"), "{line}");
    let line = error_line(&["explain", "tired"], 2);
    assert!(line.contains("tired") && line.contains("idle_reaped"), "{line}");
    error_line(&["agent", "--web.listen-address", "nowhere"], 2);
    error_line(&["trace", "--count", "0"], 2);
    error_line(&["report", "--duration", "0s"], 2);
    error_line(&["timeouts", "--duration", "soon"], 2);
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn configuration_errors_name_file_and_line() {
    let file = tempfile::NamedTempFile::new().expect("file");
    let path = file.path().to_str().expect("UTF-8");
    std::fs::write(path, "# sizes\nworkload_limit = 0\n").expect("written");
    let line = error_line(&["agent", "--config", path], 1);
    assert_eq!(line, format!("rstwatch: {path}:2: workload_limit is 0: give 1 to 100000"));
    std::fs::write(path, "\n\nworkloads = 5\n").expect("written");
    let line = error_line(&["agent", "--config", path], 1);
    assert!(line.starts_with(&format!("rstwatch: {path}:3: unknown field `workloads`")), "{line}");
    std::fs::write(path, "[[timeout]]\nwho = \"our proxy\"\nseconds = 50\nplace = \"rack\"\n").expect("written");
    for command in ["agent", "trace", "report", "timeouts"] {
        let line = error_line(&[command, "--config", path], 1);
        let fault = "timeout \"our proxy\": place is \"rack\": give end or device";
        assert_eq!(line, format!("rstwatch: {path}:1: {fault}"));
    }
    let line = error_line(&["agent", "--config", "/nonexistent/rstwatch.toml"], 1);
    assert!(line.contains("/nonexistent/rstwatch.toml") && line.contains("No such file"), "{line}");
}

#[test]
fn web_configuration_errors_name_file_and_line() {
    let file = tempfile::NamedTempFile::new().expect("file");
    let path = file.path().to_str().expect("UTF-8");
    std::fs::write(path, "tls_server_config:\n  cert_filse: x\n").expect("written");
    let line = error_line(&["agent", "--web.config.file", path], 1);
    assert!(
        line.starts_with(&format!("rstwatch: {path}:2: unknown key \"cert_filse\": expected one of cert,")),
        "{line}"
    );
    let line = error_line(&["agent", "--web.config.file", "/nonexistent/web.yml"], 1);
    let expected = "cannot read the web configuration /nonexistent/web.yml: No such file or directory (os error 2)";
    assert_eq!(line, format!("rstwatch: {expected}"));
}

#[test]
fn a_port_in_use_is_an_error_of_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port");
    let address = taken.local_addr().expect("address").to_string();
    let line = error_line(&["agent", "--web.listen-address", &address], 1);
    assert_eq!(
        line,
        format!("rstwatch: cannot listen on {address}: address in use: pick another with --web.listen-address")
    );
}

#[test]
fn explain_prints_one_cause_or_all() {
    let list = run(&["explain"]);
    assert!(list.status.success() && list.stderr.is_empty());
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), rstwatch_verdict::cause::Cause::ALL.len());
    let one = run(&["explain", "idle_reaped"]);
    let text = String::from_utf8_lossy(&one.stdout);
    for part in ["idle_reaped: ", "\nMeaning\n", "\nConfirm\n", "rstwatch trace --cause idle_reaped", "\nFix\n"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    let output = rstwatch(&["explain"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
        .wait_with_output()
        .expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn check_says_whether_the_agent_can_run() {
    let Output { status, stdout, stderr } = run(&["check"]);
    let text = String::from_utf8_lossy(&stdout);
    assert!(stderr.is_empty());
    let can_run = text.contains("\nThe agent can run here");
    assert_eq!(status.code(), Some(if can_run { 0 } else { 1 }), "{text}");
    assert!(text.starts_with("kernel ") && text.contains("\nprobes\n"), "{text}");
}

/// A running command; killed if a test fails before it has ended.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        // stdout is not read by the tests, and on a busy host a pipe would fill up.
        let mut child = rstwatch(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, stderr }
    }

    /// Reads stderr up to the line that contains these words.
    #[track_caller]
    fn wait_for_line(&mut self, words: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).expect("a line"), 0, "ended without {words:?}: {all}");
            if line.contains(words) {
                return line;
            }
            all += &line;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signalled");
    }

    /// Expects an exit without error within a second. Returns the rest of stderr.
    #[track_caller]
    fn wait_for_exit(mut self) -> String {
        let start = Instant::now();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).expect("UTF-8");
        let status = self.child.wait().expect("ended");
        assert!(status.success(), "{status}: {rest}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors are ignored: the process may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    get_with(address, path, "")
}

fn get_with(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    answer
}

#[test]
fn the_agent_serves_reloads_and_stops_in_time() {
    if !can_load_bpf() {
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("file");
    let path = file.path().to_str().expect("UTF-8");
    let mut agent =
        Running::start(&["agent", "--web.listen-address", "127.0.0.1:0", "--node-name", "test-node", "--config", path]);
    let line = agent.wait_for_line("listening on http://");
    let address = line.split("http://").nth(1).and_then(|url| url.split('/').next()).expect("address").to_owned();
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/metrics").contains("rstwatch_build_info{"));
    assert!(get(&address, "/").contains("test-node"));

    std::fs::write(path, "workload_limit = 5\n").expect("written");
    agent.signal(Signal::HUP);
    agent.wait_for_line("configuration read from");
    std::fs::write(path, "workload_limit = 0\n").expect("written");
    agent.signal(Signal::HUP);
    let line = agent.wait_for_line("workload_limit is 0");
    assert!(line.contains("keeping the previous configuration"), "{line}");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"), "a bad configuration does not stop the agent");

    let mut follower = TcpStream::connect(&address).expect("connected");
    write!(follower, "GET /api/v1/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    agent.signal(Signal::TERM);
    agent.wait_for_exit();
}

#[test]
fn the_agent_requires_a_password() {
    if !can_load_bpf() {
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("file");
    let path = file.path().to_str().expect("UTF-8");
    // The bcrypt hash of "secret".
    let users = "basic_auth_users:\n  alice: $2b$04$ZhPUUDGt0aZyOrFmKliM1O1uNK8lfZSRAVIov8O6Mt43VSUHi5tH.\n";
    std::fs::write(path, users).expect("written");
    let mut agent = Running::start(&["agent", "--web.listen-address", "127.0.0.1:0", "--web.config.file", path]);
    let line = agent.wait_for_line("listening on http://");
    let address = line.split("http://").nth(1).and_then(|url| url.split('/').next()).expect("address").to_owned();
    let metrics = |headers: &str| get_with(&address, "/metrics", headers);
    assert!(metrics("").starts_with("HTTP/1.1 401"));
    assert!(
        metrics("Authorization: Basic YWxpY2U6c2VjcmV0\r\n").contains("rstwatch_web_config_last_reload_successful 1")
    );
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"), "health probes require no password");
    agent.signal(Signal::HUP);
    agent.wait_for_line("web configuration read from");
    std::fs::write(path, "users:\n").expect("written");
    agent.signal(Signal::HUP);
    let line = agent.wait_for_line("unknown key \"users\"");
    assert!(line.contains("keeping the previous web configuration"), "{line}");
    assert!(metrics("").starts_with("HTTP/1.1 401"), "an invalid file does not remove the password");
    agent.signal(Signal::TERM);
    agent.wait_for_exit();
}

#[test]
fn trace_ends_on_a_signal_and_after_its_duration() {
    if !can_load_bpf() {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let mut trace = Running::start(&["trace", "--json"]);
        let line = trace.wait_for_line("watching");
        assert_eq!(line, "watching every network namespace; press Ctrl-C to stop\n");
        trace.signal(signal);
        trace.wait_for_exit();
    }
    let mut trace = Running::start(&["trace", "--duration", "100ms"]);
    trace.wait_for_line("watching");
    trace.wait_for_exit();
}
