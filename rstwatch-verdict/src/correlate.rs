//! Peer correlation: several connections to one server that end at once, and new ones that are refused, mean that its
//! process ended.

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::HashMap;
use rstwatch_common::flow::{Flow, NetnsFlow};
use rstwatch_common::record::{ResetRecord, role, state};

use crate::evidence::Correlation;

/// Connections that end within this time ended together.
const TOGETHER: Duration = Duration::from_millis(200);
/// Maximum servers; the least recently used are evicted.
const MAX_SERVERS: usize = 1024;
/// Maximum ends kept for one server.
const MAX_ENDS: usize = 64;

/// Recent ends of connections, by server.
#[derive(Default)]
pub struct Correlator {
    servers: HashMap<NetnsFlow, Server>,
    next: u64,
}

#[derive(Default)]
struct Server {
    last_used: u64,
    /// When a FIN or an RST ended each connection, monotonic nanoseconds.
    ends: VecDeque<u64>,
    /// When a new connection was last refused, monotonic nanoseconds.
    refused_ns: u64,
}

impl Correlator {
    /// Records a received reset; returns its correlation with earlier ones.
    pub fn observe(&mut self, record: &ResetRecord) -> Correlation {
        if record.conn.role == role::SERVER {
            return Correlation::default();
        }
        self.next += 1;
        let number = self.next;
        self.evict_half();
        let server = self.servers.entry(key(record)).or_default();
        server.last_used = number;
        if record.state == state::SYN_SENT {
            server.refused_ns = record.time_ns;
            return Correlation::default();
        }
        server.ended(record)
    }

    fn evict_half(&mut self) {
        if self.servers.len() < MAX_SERVERS {
            return;
        }
        // Half at a time, so that evictions are rare.
        let mut last_used: Vec<_> = self.servers.values().map(|server| server.last_used).collect();
        last_used.sort_unstable();
        let keep_from = last_used.get(MAX_SERVERS / 2).copied().unwrap_or(0);
        self.servers.retain(|_, server| server.last_used >= keep_from);
    }
}

impl Server {
    fn ended(&mut self, record: &ResetRecord) -> Correlation {
        let ended_ns = if record.conn.fin.time_ns != 0 { record.conn.fin.time_ns } else { record.time_ns };
        let limit = u64::try_from(TOGETHER.as_nanos()).unwrap_or(u64::MAX);
        let ended_together = self.ends.iter().filter(|other| other.abs_diff(ended_ns) <= limit).count();
        if self.ends.len() == MAX_ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(ended_ns);
        Correlation { ended_together, refused_since: self.refused_ns > ended_ns }
    }
}

/// A server's address and port.
fn key(record: &ResetRecord) -> NetnsFlow {
    let flow = Flow { local: [0; 16], local_port: 0, ..record.flow };
    NetnsFlow { flow, netns: record.netns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture::{self, NOW_NS};

    const MS: u64 = 1_000_000;

    fn reset(at_ms: u64, fin_ms: u64) -> ResetRecord {
        let mut record = fixture::received();
        record.time_ns = NOW_NS + at_ms * MS;
        record.conn.fin.time_ns = NOW_NS + fin_ms * MS;
        record
    }

    fn refusal(at_ms: u64) -> ResetRecord {
        ResetRecord { state: state::SYN_SENT, ..reset(at_ms, 0) }
    }

    #[test]
    fn fins_at_one_moment_and_a_refusal_since() {
        let mut correlator = Correlator::default();
        assert_eq!(correlator.observe(&reset(500, 100)), Correlation::default());
        correlator.observe(&refusal(600));
        assert_eq!(correlator.observe(&reset(900, 105)), Correlation { ended_together: 1, refused_since: true });
        // A later end is not correlated.
        assert_eq!(correlator.observe(&reset(5000, 4000)), Correlation::default());
    }

    #[test]
    fn another_port_is_another_server() {
        let mut correlator = Correlator::default();
        correlator.observe(&reset(0, 1));
        let mut other = reset(0, 1);
        other.flow.remote_port += 1;
        assert_eq!(correlator.observe(&other), Correlation::default());
    }

    #[test]
    fn servers_and_ends_are_bounded() {
        let mut correlator = Correlator::default();
        for index in 0..10_000u32 {
            let mut record = reset(0, 1);
            record.flow.remote[..4].copy_from_slice(&index.to_be_bytes());
            correlator.observe(&record);
            correlator.observe(&reset(0, 1));
        }
        assert!(correlator.servers.len() <= MAX_SERVERS);
        let of_one = correlator.servers.values().map(|server| server.ends.len()).max();
        assert_eq!(of_one, Some(MAX_ENDS));
    }
}
