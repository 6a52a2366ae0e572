//! The listeners as they are shown: by address, port and owner, as many as the limit allows.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Listener;
use crate::aggregate::Labels;
use crate::kernel::listeners::Seen;
use crate::record::Workload;

/// Listeners with series of their own, unless configured otherwise.
pub const DEFAULT_LIMIT: usize = 1_000;

type Key = (SocketAddr, Labels);

/// What was counted of each, and what they look like now.
#[derive(Debug)]
pub struct Series {
    limit: usize,
    rows: HashMap<Key, Listener>,
    /// Overflows of those beyond the limit.
    others: u64,
    /// How many of the last look are beyond it.
    folded: u64,
}

impl Series {
    /// At most so many.
    pub fn new(limit: usize) -> Self {
        Self { limit, rows: HashMap::new(), others: 0, folded: 0 }
    }

    /// What is seen now, instead of what was seen before. A row with overflows stays: a counter that vanishes loses them.
    pub fn show(&mut self, seen: &[Seen]) {
        self.rows.retain(|_, row| row.overflows > 0);
        for row in self.rows.values_mut() {
            (row.sockets, row.length, row.limit) = (0, 0, 0);
        }
        self.folded = 0;
        for listener in seen.iter().filter(|seen| !seen.gone) {
            match self.row(listener) {
                Some(row) => show(row, listener),
                None => self.folded += 1,
            }
        }
    }

    /// Counts overflows of a listener.
    pub fn overflowed(&mut self, listener: &Seen, count: u64) {
        if count == 0 {
            return;
        }
        match self.row(listener) {
            Some(row) => row.overflows += count,
            None => self.others += count,
        }
    }

    fn row(&mut self, listener: &Seen) -> Option<&mut Listener> {
        let key = key(listener);
        if !self.rows.contains_key(&key) {
            if self.rows.len() >= self.limit {
                return None;
            }
            self.rows.insert(key.clone(), empty(listener));
        }
        self.rows.get_mut(&key)
    }

    /// The rows, the fullest first.
    pub fn rows(&self) -> Vec<Listener> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by(|left, right| {
            fuller(right, left).then_with(|| (&left.address, left.port).cmp(&(&right.address, right.port)))
        });
        rows
    }

    /// Overflows of listeners without a row.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// How many listeners of the last look have none.
    pub fn folded(&self) -> u64 {
        self.folded
    }
}

fn key(listener: &Seen) -> Key {
    (listener.local, listener.workload.as_ref().map(Labels::from).unwrap_or_default())
}

fn empty(listener: &Seen) -> Listener {
    let workload = listener.workload.as_ref();
    Listener {
        address: listener.local.ip().to_string(),
        port: listener.local.port(),
        workload: workload.map(|workload| Workload { container: None, ..workload.clone() }),
        netns: listener.netns,
        sockets: 0,
        length: 0,
        limit: 0,
        overflows: 0,
    }
}

/// Of several sockets the fullest is shown: that one among many is full is what matters.
fn show(row: &mut Listener, listener: &Seen) {
    let seen = Listener { length: listener.length, limit: listener.limit, netns: listener.netns, ..row.clone() };
    if row.sockets == 0 || fuller(&seen, row).is_gt() {
        *row = seen;
    }
    row.sockets += 1;
}

/// By how full a queue is. It takes one more than its limit.
fn fuller(left: &Listener, right: &Listener) -> std::cmp::Ordering {
    let fill = |it: &Listener, other: &Listener| u64::from(it.length) * (u64::from(other.limit) + 1);
    fill(left, right).cmp(&fill(right, left)).then(left.overflows.cmp(&right.overflows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::WorkloadKind;

    fn seen(port: u16, length: u32, limit: u32) -> Seen {
        let workload = Workload { kind: WorkloadKind::Process, namespace: None, name: "nginx".into(), container: None };
        let local = SocketAddr::from(([0, 0, 0, 0], port));
        Seen {
            id: (u64::from(port), 0),
            local,
            netns: u32::from(port),
            workload: Some(workload),
            pid: 1,
            length,
            limit,
            drops: 0,
            full_ns: 0,
            gone: false,
        }
    }

    #[test]
    fn of_several_sockets_the_fullest_is_shown() {
        let mut series = Series::new(10);
        series.show(&[seen(80, 3, 100), Seen { netns: 7, ..seen(80, 2, 1) }, seen(80, 90, 100), seen(81, 0, 0)]);
        let rows = series.rows();
        assert_eq!((rows[0].port, rows[0].length, rows[0].limit, rows[0].netns, rows[0].sockets), (80, 2, 1, 7, 3));
        assert_eq!((rows[1].port, rows[1].sockets), (81, 1));
    }

    #[test]
    fn overflows_outlive_the_listener() {
        let mut series = Series::new(10);
        series.show(&[seen(80, 3, 2), seen(81, 0, 2)]);
        series.overflowed(&seen(80, 0, 0), 5);
        series.overflowed(&Seen { gone: true, ..seen(82, 0, 0) }, 2);
        series.show(&[]);
        let rows: Vec<_> = series.rows().iter().map(|row| (row.port, row.sockets, row.overflows)).collect();
        assert_eq!(rows, [(80, 0, 5), (82, 0, 2)]);
    }

    #[test]
    fn beyond_the_limit_they_share_one() {
        let mut series = Series::new(2);
        for port in 0..10 {
            series.overflowed(&seen(port, 0, 0), 1);
        }
        series.show(&(0..10).map(|port| seen(port, 1, 1)).collect::<Vec<_>>());
        assert_eq!((series.rows().len(), series.others(), series.folded()), (2, 8, 8));
    }
}
