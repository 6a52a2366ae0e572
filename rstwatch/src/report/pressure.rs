//! Pressure on queues and on connection tracking, as this process's network namespace counts it.

use std::fs::read_to_string;

use serde::Serialize;

/// The counters at one moment; `None`: the file is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    overflows: Option<u64>,
    drops: Option<u64>,
    entries: Option<u64>,
    limit: Option<u64>,
    table_full: Option<u64>,
    evicted: Option<u64>,
}

/// What happened between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    /// Connections that an accept queue had no room for.
    pub listen_overflows: Option<u64>,
    /// Connection attempts dropped at listeners, those included.
    pub listen_drops: Option<u64>,
    /// Entries of the conntrack table at the end.
    pub conntrack_entries: Option<u64>,
    /// Its limit.
    pub conntrack_limit: Option<u64>,
    /// Packets dropped because it was full, or an entry could not be made.
    pub conntrack_drops: Option<u64>,
    /// Entries evicted to make room.
    pub conntrack_evictions: Option<u64>,
}

impl Pressure {
    /// Reads what there is.
    pub(super) fn read() -> Self {
        let netstat = read_to_string("/proc/self/net/netstat").unwrap_or_default();
        let number = |name: &str| {
            read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok().and_then(|text| text.trim().parse().ok())
        };
        let conntrack = read_to_string("/proc/self/net/stat/nf_conntrack").unwrap_or_default();
        Self {
            overflows: tcp_ext(&netstat, "ListenOverflows"),
            drops: tcp_ext(&netstat, "ListenDrops"),
            entries: number("nf_conntrack_count"),
            limit: number("nf_conntrack_max"),
            table_full: column(&conntrack, "drop"),
            evicted: column(&conntrack, "early_drop"),
        }
    }

    /// What changed since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Change {
        let delta = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Change {
            listen_overflows: delta(self.overflows, earlier.overflows),
            listen_drops: delta(self.drops, earlier.drops),
            conntrack_entries: self.entries,
            conntrack_limit: self.limit,
            conntrack_drops: delta(self.table_full, earlier.table_full),
            conntrack_evictions: delta(self.evicted, earlier.evicted),
        }
    }
}

/// A counter of `/proc/net/netstat`: a line of names, then one of values.
fn tcp_ext(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|it| it == name)?;
    values.split(' ').nth(at)?.parse().ok()
}

/// A column of `/proc/net/stat/nf_conntrack`, summed over its lines, one for each CPU; hexadecimal.
fn column(stat: &str, name: &str) -> Option<u64> {
    let mut lines = stat.lines();
    let at = lines.next()?.split_whitespace().position(|it| it == name)?;
    lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(at)?, 16).ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 7 9\nIpExt: A\nIpExt: 1\n";
        assert_eq!((tcp_ext(netstat, "ListenOverflows"), tcp_ext(netstat, "ListenDrops")), (Some(7), Some(9)));
        assert_eq!((tcp_ext(netstat, "NoSuch"), tcp_ext("", "ListenDrops")), (None, None));
        let conntrack = "entries  drop early_drop\n00000005  00000010 00000000\n00000005  00000001 00000002\n";
        assert_eq!((column(conntrack, "drop"), column(conntrack, "early_drop")), (Some(17), Some(2)));
        assert_eq!((column(conntrack, "x"), column("", "drop")), (None, None));
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let now = Pressure { overflows: Some(7), entries: Some(3), ..Pressure::default() };
        let then = Pressure { overflows: Some(5), drops: Some(1), ..Pressure::default() };
        let change = Change { listen_overflows: Some(2), conntrack_entries: Some(3), ..Change::default() };
        assert_eq!(now.since(&then), change);
    }

    #[test]
    fn this_host_counts_overflows() {
        assert!(Pressure::read().overflows.is_some());
    }
}
