//! The router's links in user space: captures packets and delays them.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::network::host::Family;
use crate::network::ns::Ns;
use crate::network::packet::{Segment, forward};
use crate::network::sock::Raw;
use crate::rows::Scene;
use crate::wait::{SOON, until};

const MTU: usize = 65_536;
const TICK: Duration = Duration::from_millis(1);

/// Captures every packet that arrives at a namespace's links.
pub(crate) struct Sniffer {
    socket: Socket,
    port: u16,
}

impl Sniffer {
    pub(crate) fn open(ns: &Ns, family: Family, port: u16) -> Result<Self> {
        // By protocol and not "all", so that outgoing packets are not captured again.
        let protocol = match family {
            Family::V4 => libc::ETH_P_IP,
            Family::V6 => libc::ETH_P_IPV6,
        };
        let protocol = Protocol::from(i32::from(u16::try_from(protocol)?.to_be()));
        let socket = ns.run(|| Ok(Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?))?;
        socket.set_read_timeout(Some(TICK))?;
        Ok(Self { socket, port })
    }

    /// The next packet from or to the scenario's port, if one comes soon.
    fn next(&self) -> Result<Option<(Segment, Vec<u8>)>> {
        let mut packet = vec![0; MTU];
        match (&self.socket).read(&mut packet) {
            Ok(length) => packet.truncate(length),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(error) => return Err(error).context("the router's wire"),
        }
        let segment = Segment::parse(&packet).filter(|segment| [segment.from, segment.to].contains(&self.port));
        Ok(segment.map(|segment| (segment, packet)))
    }

    /// Waits for a matching segment.
    pub(crate) fn wait(&self, is: impl Fn(&Segment) -> bool) -> Result<Segment> {
        let next = || Ok(self.next()?.map(|(segment, _)| segment).filter(&is));
        until("the segment", SOON, next)
    }
}

/// A hop that delays each packet of one port, so that there is a round-trip time to measure.
pub(crate) struct SlowHop<'a> {
    cut: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
    _no_shortcut: Blackhole<'a>,
}

impl<'a> SlowHop<'a> {
    pub(crate) fn start(scene: &Scene<'a>, delay: Duration) -> Result<Self> {
        let router = &scene.net.router;
        let shortcut = Blackhole::dig(router, scene.family, scene.port)?;
        let sniffer = Sniffer::open(router, scene.family, scene.port)?;
        let out = Raw::open(router, scene.family)?;
        let (cut, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_cut, is_over) = (Arc::clone(&cut), Arc::clone(&ends));
        let hop = move || relay(&sniffer, &out, delay, &is_cut, &is_over);
        Ok(Self { cut, ends, thread: Some(thread::spawn(hop)), _no_shortcut: shortcut })
    }

    /// From now on drops every packet.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

impl Drop for SlowHop<'_> {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(why))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the slow hop failed: {why:#}");
        }
    }
}

/// Blackholes a port's segments by routing. Drops by netfilter could be mistaken for rejects.
struct Blackhole<'a> {
    router: &'a Ns,
    rules: [String; 2],
}

impl<'a> Blackhole<'a> {
    fn dig(router: &'a Ns, family: Family, port: u16) -> Result<Self> {
        let version = match family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        let from = [("client", "dport"), ("server", "sport")];
        let rules = from.map(|(link, end)| format!("{version} rule _ iif {link} ipproto 6 {end} {port} blackhole"));
        let hole = Self { router, rules };
        for rule in &hole.rules {
            ip_rule(router, rule, "add")?;
        }
        Ok(hole)
    }
}

impl Drop for Blackhole<'_> {
    fn drop(&mut self) {
        for rule in &self.rules {
            if let Err(why) = ip_rule(self.router, rule, "del") {
                eprintln!("cannot remove a routing rule: {why:#}");
            }
        }
    }
}

fn ip_rule(router: &Ns, rule: &str, verb: &str) -> Result<()> {
    let words: Vec<&str> = rule.split(' ').map(|word| if word == "_" { verb } else { word }).collect();
    router.tool("ip", &words).map(drop)
}

fn relay(wire: &Sniffer, out: &Raw, delay: Duration, cut: &AtomicBool, ends: &AtomicBool) -> Result<()> {
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while !ends.load(Ordering::Relaxed) {
        if let Some((_, packet)) = wire.next()? {
            held.push_back((Instant::now() + delay, packet));
        }
        while held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            let Some((_, packet)) = held.pop_front() else { break };
            if !cut.load(Ordering::Relaxed) {
                out.send(&forward(packet))?;
            }
        }
    }
    Ok(())
}
