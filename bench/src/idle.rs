//! Idle connections that their server closes and their client then uses: the most frequent question about a reset.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::load::set_process_name;
use crate::subject::verdicts::{Connection, Verdict, Verdicts};

/// Silence after which the server closes.
const TIMEOUT: Duration = Duration::from_millis(1200);
/// How far the verdict's silence may be from the real one.
const TOLERANCE: Duration = Duration::from_millis(100);
/// The agent's verdict takes less.
const VERDICT: Duration = Duration::from_secs(3);
/// The name of this process meanwhile.
const NAME: &str = "idle-server";
const TICK: Duration = Duration::from_millis(5);

/// When connections are opened and used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Connections opened a second.
    pub(crate) rate: u32,
    /// For how long they are opened.
    pub(crate) opening: Duration,
    /// By when the last is used, from the beginning: at least the silence after `opening`.
    pub(crate) end: Duration,
}

/// Verdicts about the reused connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Explained {
    /// Connections that were closed after a silence and reset when they were used.
    pub(crate) reused: u64,
    /// Those whose verdict names the cause, the owner and the silence.
    pub(crate) named: u64,
    /// What the others lack, and how many of them.
    pub(crate) faults: BTreeMap<String, u64>,
}

impl Explained {
    /// A line for each fault.
    pub(crate) fn print(&self) {
        for (fault, count) in &self.faults {
            println!("          {count} of {} idle connections: {fault}", self.reused);
        }
    }
}

/// A connection from its opening to its use.
struct Kept {
    client: TcpStream,
    /// `None`: it was closed.
    server: Option<TcpStream>,
    /// Before the last message was sent, and after it was received.
    silent_since: [Instant; 2],
    use_at: Instant,
}

/// A connection that was used after its end: which, and after which silence.
struct Reused {
    connection: Connection,
    /// Lower and upper bound: on a busy machine this thread may wait before and after it reads the clock.
    silence: RangeInclusive<Duration>,
}

/// Opens, closes and uses connections as scheduled.
pub(crate) struct Idle(Vec<Reused>);

impl Idle {
    /// Does so in this thread's network namespace.
    pub(crate) fn run(schedule: Schedule) -> Result<Self> {
        let netns = fs::metadata("/proc/thread-self/ns/net")?.ino();
        set_process_name(NAME)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let began = Instant::now();
        let (mut kept, mut reused, mut opened) = (Vec::new(), Vec::new(), 0);
        while began.elapsed() < schedule.opening || !kept.is_empty() {
            let due = began + Duration::from_secs(1) * opened / schedule.rate;
            if began.elapsed() < schedule.opening && due <= Instant::now() {
                opened += 1;
                kept.push(Kept::open(&listener, began + schedule.end, opened)?);
            }
            close_silent(&mut kept);
            reused.extend(use_due(&mut kept, netns)?);
            sleep(TICK);
        }
        set_process_name("xtask")?;
        Ok(Self(reused))
    }

    /// Compares with what the agent said.
    pub(crate) fn explained(&self, verdicts: Verdicts) -> Result<Explained> {
        sleep(VERDICT);
        let verdicts = verdicts.end()?;
        let mut explained = Explained { reused: self.0.len() as u64, ..Explained::default() };
        for reused in &self.0 {
            match fault(verdicts.get(&reused.connection), &reused.silence) {
                None => explained.named += 1,
                Some(fault) => *explained.faults.entry(fault).or_default() += 1,
            }
        }
        Ok(explained)
    }
}

/// What a verdict about a reused connection lacks.
fn fault(verdict: Option<&Verdict>, silence: &RangeInclusive<Duration>) -> Option<String> {
    let Some(Verdict { cause, process, idle_ms, .. }) = verdict else { return Some("no verdict".to_owned()) };
    let process = process.as_ref().map(|process| process.comm.as_str());
    if cause != "idle_reaped" {
        return Some(format!("cause {cause}, process {}", process.unwrap_or("unknown")));
    }
    if process != Some(NAME) {
        return Some(format!("process {}", process.unwrap_or("unknown")));
    }
    let right = idle_ms
        .map(Duration::from_millis)
        .is_some_and(|idle| idle + TOLERANCE >= *silence.start() && idle <= *silence.end() + TOLERANCE);
    (!right).then(|| "a silence that is not the real one".to_owned())
}

impl Kept {
    /// Opens a connection and exchanges a request and its response.
    fn open(listener: &TcpListener, end: Instant, number: u32) -> Result<Self> {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let mut server = listener.accept()?.0;
        client.write_all(b"request")?;
        server.read_exact(&mut [0; 7])?;
        let before = Instant::now();
        server.write_all(b"response")?;
        client.read_exact(&mut [0; 8])?;
        let silent_since = [before, Instant::now()];
        let closed = Instant::now() + TIMEOUT;
        // Spread over the time that is left, by multiples of the golden ratio.
        let part = number.wrapping_mul(0x9e37_79b9);
        let left = end.saturating_duration_since(closed);
        let use_at = closed + left.mul_f64(f64::from(part) / f64::from(u32::MAX));
        Ok(Self { client, server: Some(server), silent_since, use_at })
    }

    /// The client uses the connection, which the server has closed.
    fn reuse(mut self, netns: u64) -> Result<Reused> {
        ensure!(self.client.read(&mut [0])? == 0, "unexpected data");
        let connection = (netns, self.client.peer_addr()?, self.client.local_addr()?);
        let [since, at_latest] = self.silent_since;
        let least = at_latest.elapsed();
        self.client.write_all(b"request")?;
        Ok(Reused { connection, silence: least..=since.elapsed() })
    }
}

fn close_silent(kept: &mut [Kept]) {
    for kept in kept.iter_mut().filter(|kept| kept.silent_since[1].elapsed() >= TIMEOUT) {
        kept.server = None;
    }
}

fn use_due(kept: &mut Vec<Kept>, netns: u64) -> Result<Vec<Reused>> {
    let now = Instant::now();
    let due = kept.extract_if(.., |kept| kept.server.is_none() && kept.use_at <= now);
    due.map(|kept| kept.reuse(netns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explained_verdict_has_cause_owner_and_silence() {
        let of = |cause: &str, comm: &str, idle_ms: u64| {
            serde_json::from_value::<Verdict>(serde_json::json!({
                "direction": "sent", "cause": cause, "idle_ms": idle_ms, "process": {"comm": comm},
                "local": "127.0.0.1:80", "remote": "127.0.0.1:1024", "netns": 1,
            }))
        };
        let silence = Duration::from_millis(1500)..=Duration::from_millis(1510);
        let fault = |cause, comm, idle_ms| fault(of(cause, comm, idle_ms).ok().as_ref(), &silence);
        assert_eq!(fault("idle_reaped", NAME, 1420), None);
        assert!(fault("idle_reaped", NAME, 1200).is_some(), "another silence");
        assert!(fault("idle_reaped", "nginx", 1500).is_some(), "another owner");
        assert!(fault("no_such_connection", NAME, 1500).is_some(), "another cause");
    }
}
