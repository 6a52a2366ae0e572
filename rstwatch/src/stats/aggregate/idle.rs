//! A histogram of idle times, with buckets at the well-known timeouts.

/// Upper bounds in seconds. Timers fire slightly late, so resets by a timeout fall into the bucket above it.
pub const BOUNDS: [u32; 20] = [1, 2, 4, 5, 10, 20, 30, 60, 75, 90, 120, 180, 240, 300, 350, 600, 900, 1800, 3600, 7200];

/// Idle times at reset, for one direction and cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdleHistogram {
    /// Not cumulative; the last bucket counts what exceeds all bounds.
    buckets: [u64; BOUNDS.len() + 1],
    sum_ms: u64,
}

impl IdleHistogram {
    /// Counts one idle time in milliseconds.
    pub fn observe(&mut self, idle_ms: u64) {
        let bucket = BOUNDS.partition_point(|bound| u64::from(*bound) * 1_000 < idle_ms);
        self.buckets[bucket] += 1;
        self.sum_ms = self.sum_ms.saturating_add(idle_ms);
    }

    /// Upper bounds in seconds with the count of each bucket, not cumulative; the last bound is infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        BOUNDS.iter().copied().map(f64::from).chain([f64::INFINITY]).zip(self.buckets).collect()
    }

    /// Number of idle times.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in seconds.
    pub fn sum(&self) -> f64 {
        std::time::Duration::from_millis(self.sum_ms).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        for (idle_ms, bucket) in
            [(0, 0), (1_000, 0), (1_001, 1), (60_000, 7), (60_001, 8), (7_200_000, 19), (7_200_001, 20)]
        {
            let mut histogram = IdleHistogram::default();
            histogram.observe(idle_ms);
            assert_eq!(histogram.buckets[bucket], 1, "{idle_ms} ms");
        }
    }
}
