//! A packaged agent at work: it is ready, and sees a reset that is made for it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use socket2::SockRef;

const SOON: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);
/// Where packaging lets it listen.
const PORT: u16 = 9877;

/// What its event must say of a reset that this process makes; none: whatever it says.
pub(crate) struct Seen<'a> {
    pub(crate) node: Option<&'a str>,
    pub(crate) pid: Option<u32>,
}

impl Seen<'_> {
    /// Makes resets in the namespace of this thread until the agent there tells of one.
    pub(crate) fn wait(&self) -> Result<()> {
        self.made_by(reset)
    }

    /// The same, with the resets made elsewhere.
    pub(crate) fn made_by(&self, make: impl Fn() -> Result<u16>) -> Result<()> {
        until("the reset's event", || {
            // Each time another: whoever else makes thousands of resets here pushes one out of the recent events.
            let port = make()?;
            thread::sleep(TICK);
            let events: Vec<Value> = serde_json::from_str(&get("/api/v1/events")?)?;
            let ours = events.iter().find(|event| {
                event["direction"] == "sent" && ["local", "remote"].iter().any(|end| ends(&event[end], port))
            });
            ours.map(|event| self.fits(event)).transpose().map(|found| found.is_some())
        })?;
        ensure!(get("/metrics")?.contains("cause=\"linger_abort\""), "no such series in /metrics");
        Ok(())
    }

    fn fits(&self, event: &Value) -> Result<()> {
        ensure!(event["cause"] == "linger_abort", "a wrong cause: {event}");
        ensure!(self.node.is_none_or(|node| event["node"] == node), "another node: {event}");
        ensure!(self.pid.is_none_or(|pid| event["process"]["pid"] == pid), "another process: {event}");
        Ok(())
    }
}

fn ends(end: &Value, port: u16) -> bool {
    end.as_str().is_some_and(|end| end.ends_with(&format!(":{port}")))
}

/// A connection of loopback that its client aborts; the server's port.
pub(crate) fn reset() -> Result<u16> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = server.local_addr()?.port();
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut accepted, _) = server.accept()?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    let error = accepted.read(&mut [0]).err().context("no reset came")?;
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

/// Whether the agent of this thread's namespace says so.
pub(crate) fn ready() -> Result<()> {
    get("/readyz").map(drop)
}

fn get(path: &str) -> Result<String> {
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(5))).build();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut answer = ureq::Agent::new_with_config(config).get(format!("http://{at}{path}")).call()?;
    Ok(answer.body_mut().with_config().limit(16 << 20).read_to_string()?)
}

/// Waits for something, with a limit.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        ensure!(started.elapsed() < SOON, "waited in vain for {what}");
        thread::sleep(TICK);
    }
    Ok(())
}
