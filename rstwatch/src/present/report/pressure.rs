//! Pressure on accept queues and on connection tracking, from the counters of this process's network namespace.

use std::path::Path;

use serde::Serialize;

use crate::capacity::procfs::{Reading, setting};

/// The counters at one time; `None`: the file is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    overflows: Option<u64>,
    drops: Option<u64>,
    entries: Option<u64>,
    limit: Option<u64>,
    table_full: Option<u64>,
    evicted: Option<u64>,
}

/// The change between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// Connections dropped because an accept queue was full.
    pub listen_overflows: Option<u64>,
    /// Connections and attempts dropped at listeners, including those.
    pub listen_drops: Option<u64>,
    /// Entries of the conntrack table at the end.
    pub conntrack_entries: Option<u64>,
    /// Limit of that table.
    pub conntrack_limit: Option<u64>,
    /// Packets dropped because the table was full or an entry could not be allocated.
    pub conntrack_drops: Option<u64>,
    /// Entries evicted in favour of new ones.
    pub conntrack_evictions: Option<u64>,
}

impl Pressure {
    /// Reads the counters that exist.
    pub(crate) fn read() -> Self {
        let reading = Reading::of(Path::new("/proc/self/net")).unwrap_or_default();
        let number = |name: &str| setting(&Path::new("/proc/sys/net/netfilter").join(name));
        Self {
            overflows: reading.counter("tcp_ext_listen_overflows"),
            drops: reading.counter("tcp_ext_listen_drops"),
            entries: number("nf_conntrack_count"),
            limit: number("nf_conntrack_max"),
            table_full: reading.drops.full,
            evicted: reading.drops.early_drop,
        }
    }

    /// The change since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Change {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_counters_stay_absent() {
        let now = Pressure { overflows: Some(7), entries: Some(3), ..Pressure::default() };
        let then = Pressure { overflows: Some(5), drops: Some(1), ..Pressure::default() };
        let change = Change { listen_overflows: Some(2), conntrack_entries: Some(3), ..Change::default() };
        assert_eq!(now.since(&then), change);
    }

    #[test]
    fn reads_this_hosts_overflows() {
        assert!(Pressure::read().overflows.is_some());
    }
}
