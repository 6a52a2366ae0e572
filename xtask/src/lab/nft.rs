//! Firewall rules that last as long as their guard, and count what they reject.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::ns::Ns;
use super::wait::until_true;

const TABLE: &str = "inet lab";

/// Resets made by reject rules, which `TcpOutRsts` does not know.
#[derive(Default)]
pub(super) struct Rejects(Cell<u64>);

impl Rejects {
    pub(super) fn total(&self) -> u64 {
        self.0.get()
    }

    fn add(&self, more: u64) {
        self.0.set(self.0.get() + more);
    }
}

/// The one rule of its namespace while it lives.
pub(super) struct Rule<'a> {
    ns: &'a Ns,
    how: How<'a>,
}

enum How<'a> {
    Drop,
    Reject(&'a Rejects),
    IptablesReject(&'a Rejects, String),
}

impl<'a> Rule<'a> {
    /// `reject with tcp reset` for what matches.
    pub(super) fn reject(ns: &'a Ns, rejects: &'a Rejects, hook: &str, matches: &str) -> Result<Self> {
        load(ns, hook, &format!("{matches} counter reject with tcp reset"))?;
        Ok(Self { ns, how: How::Reject(rejects) })
    }

    /// A silent drop for what matches.
    pub(super) fn drop(ns: &'a Ns, hook: &str, matches: &str) -> Result<Self> {
        load(ns, hook, &format!("{matches} counter drop"))?;
        Ok(Self { ns, how: How::Drop })
    }

    /// The same reject in the words of iptables (its nftables edition).
    pub(super) fn iptables_reject(ns: &'a Ns, rejects: &'a Rejects, port: u16) -> Result<Self> {
        let rule = format!("INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset");
        iptables(ns, &format!("-A {rule}"))?;
        Ok(Self { ns, how: How::IptablesReject(rejects, rule) })
    }

    /// Waits until the rule met this many packets.
    pub(super) fn met(&self, packets: u64, patience: Duration) -> Result<()> {
        until_true("the rule's counter", patience, || Ok(self.packets()? >= packets))
    }

    fn packets(&self) -> Result<u64> {
        match self.how {
            How::IptablesReject(..) => {
                let listing = iptables(self.ns, "-nvxL INPUT")?;
                let rule = listing.lines().find(|line| line.contains("REJECT"));
                let first = rule.and_then(|line| line.split_whitespace().next());
                first.context("no such rule in iptables")?.parse().context("iptables' count")
            }
            _ => {
                let listing = self.ns.tool("nft", &["-j", "list", "table", "inet", "lab"])?;
                Ok(counted(&serde_json::from_str(&listing)?))
            }
        }
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        let packets = self.packets();
        let removed = match &self.how {
            How::IptablesReject(_, rule) => iptables(self.ns, &format!("-D {rule}")),
            _ => self.ns.tool("nft", &["delete", "table", "inet", "lab"]),
        };
        if let (How::Reject(rejects) | How::IptablesReject(rejects, _), Ok(packets)) = (&self.how, &packets) {
            rejects.add(*packets);
        }
        if let Some(why) = packets.err().or(removed.err()) {
            eprintln!("a rule was not taken down cleanly: {why:#}");
        }
    }
}

fn load(ns: &Ns, hook: &str, rule: &str) -> Result<()> {
    let chain = format!("{{ type filter hook {hook} priority 0 ; }}");
    let rules = format!("add table {TABLE}; add chain {TABLE} x {chain}; add rule {TABLE} x {rule}");
    ns.tool("nft", &[&rules]).map(drop)
}

fn iptables(ns: &Ns, words: &str) -> Result<String> {
    ns.tool("iptables-nft", &words.split(' ').collect::<Vec<_>>())
}

/// The sum of all packet counters in nft's own JSON, wherever they stand in it.
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
    fn adds_up_counters_anywhere() {
        let listing = serde_json::json!({"nftables": [
            {"metainfo": {"version": "1"}},
            {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 2, "bytes": 80}}]}},
            {"rule": {"expr": [{"counter": {"packets": 3, "bytes": 9}}, {"drop": null}]}},
        ]});
        assert_eq!(counted(&listing), 5);
    }
}
