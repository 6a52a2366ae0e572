//! Firewall rules that count what they reject and are removed with their guard.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::network::ns::Ns;
use crate::wait::until_true;

/// Numbers the tables: each rule has its own.
static TABLES: AtomicU32 = AtomicU32::new(0);

/// Resets made by reject rules, which `TcpOutRsts` does not know.
#[derive(Default)]
pub(crate) struct Rejects(Cell<u64>);

impl Rejects {
    pub(crate) fn total(&self) -> u64 {
        self.0.get()
    }

    fn add(&self, more: u64) {
        self.0.set(self.0.get() + more);
    }
}

/// One or more rules in a table of their own, removed when dropped.
pub(crate) struct Rule<'a> {
    ns: &'a Ns,
    how: How<'a>,
}

enum How<'a> {
    /// A table, by family and name.
    Nft(String, Option<&'a Rejects>),
    Iptables {
        program: &'static str,
        rule: String,
        rejects: &'a Rejects,
    },
}

impl<'a> Rule<'a> {
    /// `reject with tcp reset` for matching packets.
    pub(crate) fn reject(ns: &'a Ns, rejects: &'a Rejects, hook: &str, matches: &str) -> Result<Self> {
        let rule = format!("{matches} counter reject with tcp reset");
        Self::load(ns, "inet", &filter(hook), &[&rule], Some(rejects))
    }

    /// `reject with tcp reset` in the forward hook, for matching packets in either direction.
    pub(crate) fn reject_both(ns: &'a Ns, rejects: &'a Rejects, port: u16, matches: &str) -> Result<Self> {
        let rule = |end: &str| format!("tcp {end} {port} {matches} counter reject with tcp reset");
        Self::load(ns, "inet", &filter("forward"), &[&rule("dport"), &rule("sport")], Some(rejects))
    }

    /// `reject with tcp reset` at the ingress hook of a device, before the stack sees the packet.
    pub(crate) fn reject_at_ingress(ns: &'a Ns, rejects: &'a Rejects, device: &str, matches: &str) -> Result<Self> {
        let chain = format!("type filter hook ingress device {device} priority 0");
        let rule = format!("{matches} counter reject with tcp reset");
        Self::load(ns, "netdev", &chain, &[&rule], Some(rejects))
    }

    /// A silent drop of matching packets.
    pub(crate) fn drop(ns: &'a Ns, hook: &str, matches: &str) -> Result<Self> {
        Self::other(ns, hook, &format!("{matches} counter drop"))
    }

    /// No connection tracking, so no address translation either, for matching packets that a device receives.
    pub(crate) fn untracked(ns: &'a Ns, matches: &str) -> Result<Self> {
        let chain = "type filter hook prerouting priority raw";
        Self::load(ns, "inet", chain, &[&format!("{matches} counter notrack")], None)
    }

    /// Any other rule of a filter chain, which sends no reset.
    pub(crate) fn other(ns: &'a Ns, hook: &str, rule: &str) -> Result<Self> {
        Self::load(ns, "inet", &filter(hook), &[rule], None)
    }

    /// A virtual address in front of a server.
    pub(crate) fn dnat(ns: &'a Ns, from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let family = if from.is_ipv4() { "ip" } else { "ip6" };
        let rule = format!("{family} daddr {} tcp dport {} dnat {family} to {to}", from.ip(), from.port());
        Self::nat(ns, "prerouting", &rule)
    }

    /// Address translation: one rule in a chain of that hook.
    pub(crate) fn nat(ns: &'a Ns, hook: &str, rule: &str) -> Result<Self> {
        Self::load(ns, "inet", &format!("type nat hook {hook} priority 0"), &[rule], None)
    }

    fn load(ns: &'a Ns, family: &str, chain: &str, rules: &[&str], rejects: Option<&'a Rejects>) -> Result<Self> {
        let number = TABLES.fetch_add(1, Ordering::Relaxed);
        let table = format!("{family} lab{number}");
        let mut text = format!("add table {table}; add chain {table} x {{ {chain} ; }}");
        for rule in rules {
            text += &format!("; add rule {table} x {rule}");
        }
        ns.tool("nft", &[&text])?;
        Ok(Self { ns, how: How::Nft(table, rejects) })
    }

    /// A reject of the server's port, by one of the variants of iptables.
    pub(crate) fn iptables_reject(ns: &'a Ns, rejects: &'a Rejects, program: &'static str, port: u16) -> Result<Self> {
        let rule = format!("INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset");
        iptables(ns, program, &format!("-A {rule}"))?;
        Ok(Self { ns, how: How::Iptables { program, rule, rejects } })
    }

    /// Waits until the rule has matched this many packets.
    pub(crate) fn has_matched(&self, packets: u64, timeout: Duration) -> Result<()> {
        until_true("the rule's counter", timeout, || Ok(self.packets()? >= packets))
    }

    pub(crate) fn packets(&self) -> Result<u64> {
        match &self.how {
            How::Iptables { program, .. } => {
                let listing = iptables(self.ns, program, "-nvxL INPUT")?;
                let rule = listing.lines().find(|line| line.contains("REJECT"));
                let first = rule.and_then(|line| line.split_whitespace().next());
                first.context("no such rule in iptables")?.parse().context("iptables' count")
            }
            How::Nft(table, _) => {
                let words = ["-j", "list", "table"].into_iter().chain(table.split(' '));
                let listing = self.ns.tool("nft", &words.collect::<Vec<_>>())?;
                Ok(counted(&serde_json::from_str(&listing)?))
            }
        }
    }

    fn remove(&self) -> Result<String> {
        match &self.how {
            How::Iptables { program, rule, .. } => iptables(self.ns, program, &format!("-D {rule}")),
            How::Nft(table, _) => self.ns.tool("nft", &[&format!("delete table {table}")]),
        }
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        let rejects = match &self.how {
            How::Nft(_, rejects) => *rejects,
            How::Iptables { rejects, .. } => Some(*rejects),
        };
        let counted = rejects.map(|rejects| self.packets().map(|packets| rejects.add(packets)));
        if let Err(why) = counted.unwrap_or(Ok(())).and(self.remove().map(drop)) {
            eprintln!("cannot remove a rule: {why:#}");
        }
    }
}

fn filter(hook: &str) -> String {
    format!("type filter hook {hook} priority 0")
}

fn iptables(ns: &Ns, program: &str, words: &str) -> Result<String> {
    ns.tool(program, &words.split(' ').collect::<Vec<_>>())
}

/// The sum of all packet counters in nft's JSON output.
fn counted(listing: &Value) -> u64 {
    match listing {
        Value::Array(items) => items.iter().map(counted).sum(),
        Value::Object(fields) => {
            let here = fields.get("counter").and_then(|counter| counter.get("packets"));
            let here = here.and_then(Value::as_u64);
            here.unwrap_or_else(|| fields.values().map(counted).sum())
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_nested_counters() {
        let listing = serde_json::json!({"nftables": [
            {"metainfo": {"version": "1"}},
            {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 2, "bytes": 80}}]}},
            {"rule": {"expr": [{"counter": {"packets": 3, "bytes": 9}}, {"drop": null}]}},
        ]});
        assert_eq!(counted(&listing), 5);
    }
}
