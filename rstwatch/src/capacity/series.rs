//! Listeners as they are exported: grouped by address, port and owner, up to a limit.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Listener;
use super::scanned_listener::ScannedListener;
use crate::stats::aggregate::Labels;
use rstwatch_verdict::event::Workload;

/// Maximum listeners with series of their own, unless configured otherwise.
pub const DEFAULT_LIMIT: usize = 1_000;

type Key = (SocketAddr, Labels);

/// One row for each group, with its present state and its overflows.
#[derive(Debug)]
pub(super) struct ListenerSeries {
    limit: usize,
    rows: HashMap<Key, Listener>,
    /// Overflows of listeners without a row.
    folded_overflows: u64,
    /// Listeners of the last scan without a row.
    folded: u64,
}

impl ListenerSeries {
    /// No listener yet; at most `limit` rows.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, rows: HashMap::new(), folded_overflows: 0, folded: 0 }
    }

    /// Replaces the state of all rows. A row with overflows stays, because a counter that vanishes loses its value.
    pub(super) fn update(&mut self, seen: &[ScannedListener]) {
        for row in self.rows.values_mut() {
            (row.sockets, row.length, row.limit) = (0, 0, 0);
        }
        let mut without = Vec::new();
        for listener in seen.iter().filter(|seen| !seen.gone) {
            match self.rows.get_mut(&key(listener)) {
                Some(row) => add_socket(row, listener),
                None => without.push(listener),
            }
        }
        self.rows.retain(|_, row| row.sockets > 0 || row.overflows > 0);
        // Beyond the limit, the fullest matter most.
        without.sort_by(|left, right| by_fullness(&new_row(right), &new_row(left)));
        self.folded = without.into_iter().filter(|listener| !self.admit(listener)).count() as u64;
    }

    fn admit(&mut self, listener: &ScannedListener) -> bool {
        let key = key(listener);
        if !self.ensure_slot(&key, false) {
            return false;
        }
        add_socket(self.rows.entry(key).or_insert_with(|| new_row(listener)), listener);
        true
    }

    /// Counts overflows of a listener.
    pub(super) fn add_overflows(&mut self, listener: &ScannedListener, count: u64) {
        if count == 0 {
            return;
        }
        let key = key(listener);
        if self.ensure_slot(&key, true) {
            self.rows.entry(key).or_insert_with(|| new_row(listener)).overflows += count;
        } else {
            self.folded_overflows += count;
        }
    }

    /// Whether a key has a row or can get one. At the limit this evicts a row whose sockets are closed, or for an overflow
    /// (`urgent`) also a row without overflows.
    fn ensure_slot(&mut self, key: &Key, urgent: bool) -> bool {
        if self.rows.contains_key(key) || self.rows.len() < self.limit {
            return true;
        }
        let evictable = |row: &Listener| row.sockets == 0 || (urgent && row.overflows == 0);
        let least =
            self.rows.iter().filter(|(_, row)| evictable(row)).min_by_key(|(_, row)| (row.overflows, row.sockets));
        let Some(least) = least.map(|(key, _)| key.clone()) else { return false };
        self.rows.remove(&least).is_some()
    }

    /// The rows, the fullest first.
    pub(super) fn rows(&self) -> Vec<Listener> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by(|left, right| {
            by_fullness(right, left).then_with(|| (&left.address, left.port).cmp(&(&right.address, right.port)))
        });
        rows
    }

    /// Overflows of listeners without a row.
    pub(super) fn folded_overflows(&self) -> u64 {
        self.folded_overflows
    }

    /// Listeners of the last scan without a row.
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }
}

fn key(listener: &ScannedListener) -> Key {
    (listener.local, listener.workload.as_ref().map(Labels::from).unwrap_or_default())
}

/// A row for a listener, with nothing counted.
fn new_row(listener: &ScannedListener) -> Listener {
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

/// The workload of a row: all pods of a controller and all their containers share one.
fn shared(workload: &Workload) -> Workload {
    let name = workload.controller.as_ref().map_or(&workload.name, |controller| &controller.name);
    Workload { name: name.clone(), container: None, ..workload.clone() }
}

/// Adds a socket to its row. The row describes its fullest socket, because a single full queue drops connections.
fn add_socket(row: &mut Listener, listener: &ScannedListener) {
    let seen = Listener { length: listener.length, limit: listener.limit, netns: listener.netns, ..row.clone() };
    if row.sockets == 0 || by_fullness(&seen, row).is_gt() {
        *row = seen;
    }
    row.sockets += 1;
}

/// Compares how full two queues are. A queue accepts one connection more than its limit.
fn by_fullness(left: &Listener, right: &Listener) -> std::cmp::Ordering {
    let fill = |it: &Listener, other: &Listener| u64::from(it.length) * (u64::from(other.limit) + 1);
    fill(left, right).cmp(&fill(right, left)).then(left.overflows.cmp(&right.overflows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstwatch_verdict::event::WorkloadKind;

    fn seen(port: u16, length: u32, limit: u32) -> ScannedListener {
        let workload = Workload {
            kind: WorkloadKind::Process,
            namespace: None,
            name: "nginx".into(),
            container: None,
            controller: None,
        };
        let local = SocketAddr::from(([0, 0, 0, 0], port));
        ScannedListener {
            id: (u64::from(port), 0),
            local,
            netns: u32::from(port),
            owner: rstwatch_verdict::identity::Identity::default(),
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
    fn a_row_describes_its_fullest_socket() {
        let mut series = ListenerSeries::new(10);
        series.update(&[
            seen(80, 3, 100),
            ScannedListener { netns: 7, ..seen(80, 2, 1) },
            seen(80, 90, 100),
            seen(81, 0, 0),
        ]);
        let rows = series.rows();
        assert_eq!((rows[0].port, rows[0].length, rows[0].limit, rows[0].netns, rows[0].sockets), (80, 2, 1, 7, 3));
        assert_eq!((rows[1].port, rows[1].sockets), (81, 1));
    }

    #[test]
    fn overflows_outlive_the_listener() {
        let mut series = ListenerSeries::new(10);
        series.update(&[seen(80, 3, 2), seen(81, 0, 2)]);
        series.add_overflows(&seen(80, 0, 0), 5);
        series.add_overflows(&ScannedListener { gone: true, ..seen(82, 0, 0) }, 2);
        series.update(&[]);
        let rows: Vec<_> = series.rows().iter().map(|row| (row.port, row.sockets, row.overflows)).collect();
        assert_eq!(rows, [(80, 0, 5), (82, 0, 2)]);
    }

    #[test]
    fn listeners_beyond_the_limit_are_folded() {
        let mut series = ListenerSeries::new(2);
        series.update(&(0..10).map(|port| seen(port, u32::from(port), 5)).collect::<Vec<_>>());
        let ports = |series: &ListenerSeries| series.rows().iter().map(|row| row.port).collect::<Vec<_>>();
        assert_eq!((ports(&series), series.folded()), (vec![9, 8], 8), "the fullest");
        series.add_overflows(&seen(1, 0, 0), 1);
        assert!(ports(&series).contains(&1), "replaces a row without overflows");
        series.add_overflows(&seen(2, 0, 0), 1);
        series.update(&[seen(1, 1, 1), seen(2, 1, 1)]);
        series.add_overflows(&seen(3, 0, 0), 4);
        assert_eq!(
            (ports(&series), series.folded_overflows()),
            (vec![1, 2], 4),
            "all rows have overflows and open sockets"
        );
        series.update(&[seen(2, 1, 1)]);
        series.add_overflows(&seen(3, 0, 0), 5);
        assert_eq!((ports(&series), series.folded_overflows()), (vec![2, 3], 4), "replaces a row without sockets");
    }
}
