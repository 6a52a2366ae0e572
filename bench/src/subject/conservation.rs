//! Compares the agent's counts with the kernel's and with the number of resets that were made.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::web::Counts;

/// How long the agent may take to judge the last events.
const SETTLES: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(20);

/// Counts at the beginning of a measurement.
pub(crate) struct ConservationCheck {
    agent: Counts,
    /// `TcpOutRsts` of this namespace.
    own: u64,
    /// `TcpOutRsts` of every namespace, by its inode.
    by_namespace: BTreeMap<u64, u64>,
}

impl ConservationCheck {
    /// Reads all counts. The agent must be running.
    pub(crate) fn begin() -> Result<Self> {
        Ok(Self { agent: Counts::now()?, own: own_out_rsts()?, by_namespace: out_rsts() })
    }

    /// Compares the counts since. `made`: resets made in this namespace, each sent and received; `gone`: the same in
    /// namespaces that no longer exist. Returns a sentence for each difference.
    pub(crate) fn end(&self, made: u64, gone: u64) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let sent_here = own_out_rsts()? - self.own;
        if gone == 0 && sent_here != made {
            wrong.push(format!("{made} resets were made, but the kernel sent {sent_here}"));
        }
        let foreign = self.foreign()?;
        // The agent also counts resets of other namespaces, of which any number may have been received.
        let ours_alone = foreign == 0 && sent_here == made;
        let right = |counts: Counts| {
            let received = if ours_alone { counts.received == made + gone } else { counts.received >= made + gone };
            counts.sent == sent_here + gone + foreign && received && counts.all() == counts.kernel
        };
        let began = Instant::now();
        loop {
            let counts = Counts::now()?.since(self.agent);
            if right(counts) {
                return Ok(wrong);
            }
            if began.elapsed() > SETTLES {
                wrong.push(format!(
                    "{made} resets were made here and {gone} elsewhere; the kernel sent {sent_here} here, others {foreign}; counted: {} sent, {} received, {} by the kernel's own count",
                    counts.sent, counts.received, counts.kernel
                ));
                return Ok(wrong);
            }
            sleep(TICK);
        }
    }

    /// Resets that other namespaces have sent since.
    fn foreign(&self) -> Result<u64> {
        let own = fs::metadata("/proc/thread-self/ns/net")?.ino();
        let others = out_rsts().into_iter().filter(|(netns, _)| *netns != own);
        Ok(others.map(|(netns, now)| now.saturating_sub(self.by_namespace.get(&netns).copied().unwrap_or(0))).sum())
    }
}

/// `TcpOutRsts` of this thread's namespace.
pub(crate) fn own_out_rsts() -> Result<u64> {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").context("/proc/net/snmp")?;
    out_rsts_in(&snmp).context("no OutRsts in /proc/net/snmp")
}

/// `TcpOutRsts` of every namespace that has a process, by the namespace's inode.
pub(crate) fn out_rsts() -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(netns) = fs::metadata(entry.path().join("ns/net")) else { continue };
        if found.contains_key(&netns.ino()) {
            continue;
        }
        let snmp = fs::read_to_string(entry.path().join("net/snmp")).unwrap_or_default();
        if let Some(count) = out_rsts_in(&snmp) {
            found.insert(netns.ino(), count);
        }
    }
    found
}

/// The value of `OutRsts`: /proc/net/snmp has a line of names, then one of values.
fn out_rsts_in(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = lines.next()?.split(' ').position(|word| word == "OutRsts")?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_counter_by_its_heading() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: MaxConn OutSegs OutRsts\nTcp: -1 9 7\n";
        assert_eq!(out_rsts_in(snmp), Some(7));
        assert_eq!(out_rsts_in("Tcp: A\nTcp: 1\n"), None);
    }
}
