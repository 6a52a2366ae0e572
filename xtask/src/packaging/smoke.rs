//! Smoke test of a packaged agent: it becomes ready and reports a reset that the test makes.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use socket2::SockRef;

const TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The port on which the packaging configures the agent to listen.
const PORT: u16 = 9877;

/// What the agent's event must report for a reset that this process makes.
pub(crate) struct Expected<'a> {
    /// Name of the node; `None` accepts any.
    pub(crate) node: Option<&'a str>,
    /// Process that made the reset; `None` accepts any.
    pub(crate) pid: Option<u32>,
}

impl Expected<'_> {
    /// Makes resets in this thread's network namespace until the agent there reports one.
    pub(crate) fn wait(&self) -> Result<()> {
        self.wait_with(make_reset)
    }

    /// The same, with another function that makes the resets. It returns the server's port.
    pub(crate) fn wait_with(&self, make: impl Fn() -> Result<u16>) -> Result<()> {
        wait_until("the reset's event", || {
            // A new reset in each attempt, because many other resets may push an event out of the recent ones.
            let port = make()?;
            thread::sleep(POLL_INTERVAL);
            let events: Vec<Value> = serde_json::from_str(&get("/api/v1/events")?)?;
            let ours = events.iter().find(|event| {
                event["direction"] == "sent" && ["local", "remote"].iter().any(|end| has_port(&event[end], port))
            });
            ours.map(|event| self.check(event)).transpose().map(|found| found.is_some())
        })?;
        ensure!(
            get("/metrics")?.contains("cause=\"linger_abort\""),
            "/metrics has no series with cause=\"linger_abort\""
        );
        Ok(())
    }

    fn check(&self, event: &Value) -> Result<()> {
        ensure!(event["cause"] == "linger_abort", "wrong cause: {event}");
        ensure!(self.node.is_none_or(|node| event["node"] == node), "wrong node: {event}");
        ensure!(self.pid.is_none_or(|pid| event["process"]["pid"] == pid), "wrong process: {event}");
        Ok(())
    }
}

fn has_port(end: &Value, port: u16) -> bool {
    end.as_str().is_some_and(|end| end.ends_with(&format!(":{port}")))
}

/// Opens a loopback connection and aborts it from the client's side, after a request: without payload the abort would be a
/// probe. Returns the server's port.
pub(crate) fn make_reset() -> Result<u16> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = server.local_addr()?.port();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut accepted, _) = server.accept()?;
    client.write_all(b"request")?;
    accepted.read_exact(&mut [0; 7])?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    let error = accepted.read(&mut [0]).err().context("the server received no reset")?;
    ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    Ok(port)
}

/// Runs a closure on a thread inside a network namespace.
pub(crate) fn in_namespace<T: Send>(namespace: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        inside.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
    })
}

/// Fails unless the agent in this thread's network namespace is ready.
pub(crate) fn check_ready() -> Result<()> {
    get("/readyz").map(drop)
}

fn get(path: &str) -> Result<String> {
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(5))).build();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut answer = ureq::Agent::new_with_config(config).get(format!("http://{at}{path}")).call()?;
    Ok(answer.body_mut().with_config().limit(16 << 20).read_to_string()?)
}

/// Polls until `done` returns true; an error after a timeout.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        ensure!(started.elapsed() < TIMEOUT, "timed out waiting for {what}");
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
