//! What became of the other connections to a server: several that die at once, and new ones that are refused, are the end
//! of a process.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rstwatch_common::flow::{Flow, NetnsFlow};
use rstwatch_common::record::{ResetRecord, role, state};

use crate::evidence::Company;

/// Deaths this close together are one.
const TOGETHER: Duration = Duration::from_millis(200);
/// Servers that are remembered; the one not heard of for longest gives way.
const SERVERS: usize = 1024;
/// Deaths of one server's connections that are remembered.
const DEATHS: usize = 64;

/// The recent past of each server's connections.
#[derive(Default)]
pub struct Companies {
    servers: HashMap<NetnsFlow, Server>,
    next: u64,
}

#[derive(Default)]
struct Server {
    touched: u64,
    /// Monotonic nanoseconds: when a FIN or an RST ended each.
    deaths: VecDeque<u64>,
    /// When a new connection was last refused.
    refused_ns: u64,
}

impl Companies {
    /// Takes note of a received reset; answers what is known of its company.
    pub fn note(&mut self, record: &ResetRecord) -> Company {
        if record.conn.role == role::SERVER {
            return Company::default();
        }
        self.next += 1;
        let number = self.next;
        self.make_room();
        let server = self.servers.entry(key(record)).or_default();
        server.touched = number;
        if record.state == state::SYN_SENT {
            server.refused_ns = record.time_ns;
            return Company::default();
        }
        server.died(record)
    }

    fn make_room(&mut self) {
        if self.servers.len() < SERVERS {
            return;
        }
        // Half at a time, so that this is rare.
        let mut touched: Vec<_> = self.servers.values().map(|server| server.touched).collect();
        touched.sort_unstable();
        let keep_from = touched.get(SERVERS / 2).copied().unwrap_or(0);
        self.servers.retain(|_, server| server.touched >= keep_from);
    }
}

impl Server {
    fn died(&mut self, record: &ResetRecord) -> Company {
        let died_ns = if record.conn.fin.time_ns != 0 { record.conn.fin.time_ns } else { record.time_ns };
        let limit = u64::try_from(TOGETHER.as_nanos()).unwrap_or(u64::MAX);
        let died_together = self.deaths.iter().filter(|other| other.abs_diff(died_ns) <= limit).count();
        if self.deaths.len() == DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(died_ns);
        Company { died_together, refused_since: self.refused_ns > died_ns }
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
    fn fins_of_one_moment_and_a_refusal_since() {
        let mut companies = Companies::default();
        assert_eq!(companies.note(&reset(500, 100)), Company::default());
        companies.note(&refusal(600));
        assert_eq!(companies.note(&reset(900, 105)), Company { died_together: 1, refused_since: true });
        // Another time, another death.
        assert_eq!(companies.note(&reset(5000, 4000)), Company::default());
    }

    #[test]
    fn another_port_is_another_server() {
        let mut companies = Companies::default();
        companies.note(&reset(0, 1));
        let mut other = reset(0, 1);
        other.flow.remote_port += 1;
        assert_eq!(companies.note(&other), Company::default());
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut companies = Companies::default();
        for index in 0..10_000u32 {
            let mut record = reset(0, 1);
            record.flow.remote[..4].copy_from_slice(&index.to_be_bytes());
            companies.note(&record);
            companies.note(&reset(0, 1));
        }
        assert!(companies.servers.len() <= SERVERS);
        let of_one = companies.servers.values().map(|server| server.deaths.len()).max();
        assert_eq!(of_one, Some(DEATHS));
    }
}
