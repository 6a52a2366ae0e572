//! Resets per minute over the last hour, by direction and cause.
//!
//! Memory is fixed: one slot for each minute, reused an hour later. Resets whose details were lost are left out, because
//! their minute is unknown.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::event::Event;

/// Minutes covered.
pub const MINUTES: usize = 60;

const SECONDS: i64 = 60;
const CAUSES: usize = Cause::ALL.len();
const DIRECTIONS: usize = Direction::ALL.len();

/// The counts, shared between the event loop and readers. Neither holds the lock for longer than a copy takes.
#[derive(Debug)]
pub struct Timeline(Mutex<Vec<Slot>>);

/// One minute.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// Minutes since 1970.
    minute: i64,
    counts: [[u64; CAUSES]; DIRECTIONS],
}

/// The last minutes, aligned to full minutes; the newest is the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hour {
    /// Start of each minute, in seconds since 1970.
    pub starts: Vec<i64>,
    /// Directions and causes with at least one reset, in the order of [`Cause::ALL`].
    pub resets: Vec<Row>,
}

/// One direction and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Direction of the RSTs.
    pub direction: Direction,
    /// Their verdict.
    pub cause: Cause,
    /// Resets in each minute of [`Hour::starts`].
    pub counts: Vec<u64>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self(Mutex::new(vec![Slot::default(); MINUTES]))
    }
}

impl Timeline {
    /// Counts one verdict in its minute.
    pub fn record(&self, event: &Event) {
        let minute = minute(event.time);
        let index = usize::try_from(minute.rem_euclid(MINUTES as i64)).unwrap_or(0);
        let slot = &mut self.lock()[index];
        if slot.minute != minute {
            // The slot is an hour old, or in the future because the clock was set back.
            *slot = Slot { minute, ..Slot::default() };
        }
        slot.counts[event.direction as usize][event.cause as usize] += 1;
    }

    /// The hour up to now.
    pub fn last_hour(&self, now: Timestamp) -> Hour {
        let newest = minute(now);
        let minutes: Vec<i64> = (0..MINUTES as i64).rev().map(|ago| newest - ago).collect();
        let slots = self.lock().clone();
        let count = |at: i64, direction: Direction, cause: Cause| {
            let slot = slots.iter().find(|slot| slot.minute == at);
            slot.map_or(0, |slot| slot.counts[direction as usize][cause as usize])
        };
        let mut resets = Vec::new();
        for &cause in Cause::ALL {
            for &direction in Direction::ALL {
                let counts: Vec<u64> = minutes.iter().map(|at| count(*at, direction, cause)).collect();
                if counts.iter().any(|count| *count > 0) {
                    resets.push(Row { direction, cause, counts });
                }
            }
        }
        Hour { starts: minutes.iter().map(|minute| minute * SECONDS).collect(), resets }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        // Counting does not panic half-way, so the counts behind a poisoned lock are consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn minute(time: Timestamp) -> i64 {
    time.as_second().div_euclid(SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstwatch_verdict::cause::{Confidence, Sender};
    use rstwatch_verdict::testing::sample;

    const NOON: i64 = 1_760_011_200;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn event(second: i64, direction: Direction, cause: Cause) -> Event {
        Event { time: at(second), ..sample::event(direction, cause, Sender::Peer, Confidence::Likely) }
    }

    #[test]
    fn minutes_are_aligned_and_the_newest_is_the_current_one() {
        let hour = Timeline::default().last_hour(at(NOON + 61));
        assert_eq!((hour.starts.len(), hour.resets.len()), (MINUTES, 0));
        assert_eq!(hour.starts.last(), Some(&(NOON + 60)));
        assert!(hour.starts.windows(2).all(|pair| pair[1] - pair[0] == 60));
    }

    #[test]
    fn each_verdict_counts_in_its_minute_for_an_hour() {
        // Second of the reset, second of the query, and the expected minute of sixty; `None`: none of them.
        let cases = [
            (0, 0, Some(59)),
            (59, 59, Some(59)),
            (59, 60, Some(58)),
            (0, 3_599, Some(0)),
            (0, 3_600, None),
            (3_600, 0, None),
            (0, 7_200, None),
        ];
        for (then, now, found) in cases {
            let timeline = Timeline::default();
            timeline.record(&event(NOON + then, Direction::Sent, Cause::Refused));
            let rows = timeline.last_hour(at(NOON + now)).resets;
            let index = rows.first().and_then(|row| row.counts.iter().position(|count| *count == 1));
            assert_eq!(index, found, "{then} queried at {now}");
            assert!(rows.iter().all(|row| row.counts.len() == MINUTES && row.counts.iter().sum::<u64>() == 1));
        }
    }

    #[test]
    fn rows_are_separate_and_in_order() {
        let timeline = Timeline::default();
        for (direction, cause, count) in [
            (Direction::Received, Cause::UnreadData, 3),
            (Direction::Sent, Cause::Unknown, 1),
            (Direction::Sent, Cause::UnreadData, 2),
        ] {
            (0..count).for_each(|_| timeline.record(&event(NOON, direction, cause)));
        }
        let sums: Vec<_> = timeline.last_hour(at(NOON)).resets;
        let sums: Vec<_> = sums.iter().map(|row| (row.direction, row.cause, row.counts.iter().sum::<u64>())).collect();
        let expected = [
            (Direction::Sent, Cause::UnreadData, 2),
            (Direction::Received, Cause::UnreadData, 3),
            (Direction::Sent, Cause::Unknown, 1),
        ];
        assert_eq!(sums, expected);
    }

    #[test]
    fn memory_is_fixed_and_a_clock_set_back_does_not_stop_it() {
        let timeline = Timeline::default();
        (0..1_000).for_each(|n| timeline.record(&event(NOON + n * 60, Direction::Sent, Cause::Refused)));
        assert_eq!(timeline.lock().len(), MINUTES);
        let hour = timeline.last_hour(at(NOON + 999 * 60));
        assert!(hour.resets[0].counts.iter().all(|count| *count == 1), "{hour:?}");
        timeline.record(&event(NOON, Direction::Sent, Cause::Refused));
        assert_eq!(timeline.last_hour(at(NOON)).resets[0].counts.last(), Some(&1));
    }
}
