//! The listeners as they are shown: by address, port and owner, as many as the limit allows.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Listener;
use super::seen::Seen;
use crate::aggregate::Labels;
use crate::record::Workload;

/// Listeners with series of their own, unless configured otherwise.
pub const DEFAULT_LIMIT: usize = 1_000;

type Key = (SocketAddr, Labels);

/// What was counted of each, and what they look like now.
#[derive(Debug)]
pub(super) struct Series {
    limit: usize,
    rows: HashMap<Key, Listener>,
    /// Overflows of those beyond the limit.
    others: u64,
    /// How many of the last look are beyond it.
    folded: u64,
}

impl Series {
    /// At most so many.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, rows: HashMap::new(), others: 0, folded: 0 }
    }

    /// What is seen now, instead of what was seen before. A row with overflows stays: a counter that vanishes loses them.
    pub(super) fn show(&mut self, seen: &[Seen]) {
        for row in self.rows.values_mut() {
            (row.sockets, row.length, row.limit) = (0, 0, 0);
        }
        let mut without = Vec::new();
        for listener in seen.iter().filter(|seen| !seen.gone) {
            match self.rows.get_mut(&key(listener)) {
                Some(row) => show(row, listener),
                None => without.push(listener),
            }
        }
        self.rows.retain(|_, row| row.sockets > 0 || row.overflows > 0);
        // Where there is no room for all, the fullest matter most.
        without.sort_by(|left, right| fuller(&empty(right), &empty(left)));
        self.folded = without.into_iter().filter(|listener| !self.admit(listener)).count() as u64;
    }

    fn admit(&mut self, listener: &Seen) -> bool {
        let key = key(listener);
        if !self.has_room(&key, false) {
            return false;
        }
        show(self.rows.entry(key).or_insert_with(|| empty(listener)), listener);
        true
    }

    /// Counts overflows of a listener.
    pub(super) fn overflowed(&mut self, listener: &Seen, count: u64) {
        if count == 0 {
            return;
        }
        let key = key(listener);
        if self.has_room(&key, true) {
            self.rows.entry(key).or_insert_with(|| empty(listener)).overflows += count;
        } else {
            self.others += count;
        }
    }

    /// Makes room for a listener without a row: one that is gone gives way, and to an overflow (`urgent`) also one that had
    /// none.
    fn has_room(&mut self, key: &Key, urgent: bool) -> bool {
        if self.rows.contains_key(key) || self.rows.len() < self.limit {
            return true;
        }
        let yields = |row: &Listener| row.sockets == 0 || (urgent && row.overflows == 0);
        let idlest =
            self.rows.iter().filter(|(_, row)| yields(row)).min_by_key(|(_, row)| (row.overflows, row.sockets));
        let Some(idlest) = idlest.map(|(key, _)| key.clone()) else { return false };
        self.rows.remove(&idlest).is_some()
    }

    /// The rows, the fullest first.
    pub(super) fn rows(&self) -> Vec<Listener> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by(|left, right| {
            fuller(right, left).then_with(|| (&left.address, left.port).cmp(&(&right.address, right.port)))
        });
        rows
    }

    /// Overflows of listeners without a row.
    pub(super) fn others(&self) -> u64 {
        self.others
    }

    /// How many listeners of the last look have none.
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }
}

fn key(listener: &Seen) -> Key {
    (listener.local, listener.workload.as_ref().map(Labels::from).unwrap_or_default())
}

/// A row for it, with nothing counted.
fn empty(listener: &Seen) -> Listener {
    let workload = listener.workload.as_ref();
    Listener {
        address: listener.local.ip().to_string(),
        port: listener.local.port(),
        workload: workload.map(shared),
        netns: listener.netns,
        sockets: 0,
        length: listener.length,
        limit: listener.limit,
        overflows: 0,
    }
}

/// The workload of a row, which all pods of a controller and all their containers share.
fn shared(workload: &Workload) -> Workload {
    let name = workload.controller.as_ref().map_or(&workload.name, |controller| &controller.name);
    Workload { name: name.clone(), container: None, ..workload.clone() }
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
        let workload = Workload {
            kind: WorkloadKind::Process,
            namespace: None,
            name: "nginx".into(),
            container: None,
            controller: None,
        };
        let local = SocketAddr::from(([0, 0, 0, 0], port));
        Seen {
            id: (u64::from(port), 0),
            local,
            netns: u32::from(port),
            owner: crate::owner::Key::default(),
            workload: Some(workload),
            pid: 1,
            length,
            limit,
            met_full: 0,
            drops: 0,
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
        series.show(&(0..10).map(|port| seen(port, u32::from(port), 5)).collect::<Vec<_>>());
        let ports = |series: &Series| series.rows().iter().map(|row| row.port).collect::<Vec<_>>();
        assert_eq!((ports(&series), series.folded()), (vec![9, 8], 8), "the fullest");
        series.overflowed(&seen(1, 0, 0), 1);
        assert!(ports(&series).contains(&1), "instead of one that had no overflow");
        series.overflowed(&seen(2, 0, 0), 1);
        series.show(&[seen(1, 1, 1), seen(2, 1, 1)]);
        series.overflowed(&seen(3, 0, 0), 4);
        assert_eq!((ports(&series), series.others()), (vec![1, 2], 4), "all others have had some, and are there");
        series.show(&[seen(2, 1, 1)]);
        series.overflowed(&seen(3, 0, 0), 5);
        assert_eq!((ports(&series), series.others()), (vec![2, 3], 4), "instead of one that is gone");
    }
}
