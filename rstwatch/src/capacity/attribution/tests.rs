use proptest::prelude::*;

use super::*;

const fn pending(drops: u64, full: bool) -> Pending {
    Pending { seen: 0, drops, full }
}

const fn seen(seen: u64, drops: u64) -> Pending {
    Pending { seen, drops, full: true }
}

/// No overflow during the scan.
const fn still(now: u64) -> OverflowCount {
    OverflowCount { before: now, now }
}

/// A scan of a namespace: its count, what is pending, and what is attributed.
type Scan = (u64, &'static [Pending], Option<&'static [u64]>, u64);

const CASES: &[(&str, &[Scan])] = &[
    ("a namespace as new as its listeners", &[(7, &[pending(5, true), pending(2, true)], Some(&[5, 2]), 0)]),
    ("a new namespace with queues emptied at once", &[(7, &[pending(5, false), pending(2, false)], Some(&[5, 2]), 0)]),
    (
        "overflows older than the agent are not reported",
        &[(100, &[pending(0, false)], Some(&[0]), 0), (103, &[pending(3, false)], Some(&[3]), 0)],
    ),
    (
        "counted after the scan of the listener: the next scan attributes it",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (4, &[pending(3, true)], Some(&[3]), 0),
            (4, &[pending(1, true)], Some(&[1]), 0),
        ],
    ),
    (
        "between two readings: decided by the next scan",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (6, &[pending(3, false), pending(2, false)], None, 0),
            (6, &[pending(4, false), pending(2, false)], Some(&[4, 2]), 0),
        ],
    ),
    ("drops for another reason", &[(0, &[pending(0, false)], Some(&[0]), 0), (0, &[pending(9, false)], Some(&[0]), 0)]),
    (
        "drops for another reason at a full queue: at most the count",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (2, &[pending(9, true)], None, 0),
            (2, &[pending(9, true)], Some(&[2]), 0),
        ],
    ),
    (
        "drops for another reason beside a full queue",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (2, &[pending(7, false), pending(2, true)], Some(&[0, 2]), 0),
        ],
    ),
    (
        "overflows of an unknown listener beside such drops",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (10, &[pending(8, false)], None, 0),
            (10, &[pending(8, false)], Some(&[0]), 10),
        ],
    ),
    (
        "undecidable: unattributed",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (2, &[pending(7, true), pending(2, true)], None, 0),
            (2, &[pending(7, true), pending(2, true)], Some(&[0, 0]), 2),
        ],
    ),
    (
        "seen overflows, and drops for another reason beside them",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (8, &[seen(5, 9), seen(3, 2)], Some(&[5, 3]), 0),
            (18, &[seen(5, 5), pending(3, false)], Some(&[10, 0]), 0),
        ],
    ),
    (
        "more seen than the kernel then counted: a connection was accepted in between",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (4, &[seen(3, 0), seen(2, 0)], None, 0),
            (4, &[seen(3, 0), seen(2, 0)], Some(&[3, 1]), 0),
        ],
    ),
    (
        "an unknown listener, then another namespace with the same inode",
        &[
            (50, &[], Some(&[]), 0),
            (53, &[], Some(&[]), 0),
            (53, &[], Some(&[]), 3),
            (1, &[pending(1, true)], Some(&[1]), 0),
        ],
    ),
];

#[test]
fn pending_counts_become_overflows() {
    for (what, scans) in CASES {
        let mut attribution = Attribution::default();
        for (now, pending, overflows, unattributed) in *scans {
            let expected = Attributed { overflows: overflows.map(<[u64]>::to_vec), unattributed: *unattributed };
            assert_eq!(attribution.attribute(still(*now), pending), expected, "{what}: {now}");
        }
    }
}

/// Scans of a namespace from the first on: its counts before and after the scan, overflows seen at its listener since the last
/// scan, and those unattributed.
type First = [(u64, u64, u64, u64)];

const FIRST: &[(&str, &First)] = &[
    ("a new namespace, all overflows after the listener was scanned", &[(0, 9, 0, 0), (10, 10, 10, 0), (10, 10, 0, 0)]),
    ("some before", &[(0, 9, 5, 0), (10, 10, 5, 0), (10, 10, 0, 0)]),
    ("all before", &[(0, 9, 9, 0), (10, 10, 1, 0), (10, 10, 0, 0)]),
    ("overflows of an unknown listener", &[(0, 9, 0, 0), (9, 9, 0, 9)]),
    ("the same in an old namespace", &[(100, 109, 0, 0), (109, 109, 0, 9)]),
    ("an old namespace, some before", &[(100, 109, 5, 0), (110, 110, 5, 0), (110, 110, 0, 0)]),
    ("all before, and a flood goes on", &[(100, 105, 5, 0), (205, 205, 100, 0), (205, 205, 0, 0)]),
    ("and a trickle goes on", &[(100, 105, 5, 0), (108, 108, 3, 0), (111, 111, 3, 0), (111, 111, 0, 0)]),
    ("all after, and a flood goes on", &[(100, 105, 5, 0), (205, 205, 105, 0), (206, 206, 0, 0), (206, 206, 0, 1)]),
    ("none during the scan, then one of an unknown listener", &[(105, 105, 5, 0), (106, 106, 0, 0), (106, 106, 0, 1)]),
];

#[test]
fn overflows_during_the_first_scan_are_attributed() {
    for (what, scans) in FIRST {
        let mut attribution = Attribution::default();
        for (at, (before, now, met, unattributed)) in scans.iter().enumerate() {
            let count = OverflowCount { before: *before, now: *now };
            let expected = Attributed { overflows: Some(vec![*met]), unattributed: *unattributed };
            assert_eq!(attribution.attribute(count, &[seen(*met, 0)]), expected, "{what}: scan {at}");
        }
    }
}

/// Overflows that may be older than the agent are not attributed by drops.
#[test]
fn drops_for_another_reason_are_not_overflows_during_the_first_scan() {
    let mut attribution = Attribution::default();
    let first = attribution.attribute(OverflowCount { before: 100, now: 105 }, &[pending(5, true), pending(0, false)]);
    assert_eq!(first, Attributed { overflows: Some(vec![5, 0]), unattributed: 0 });
    let second = attribution.attribute(still(105), &[pending(0, false), pending(5, false)]);
    assert_eq!(second, Attributed { overflows: Some(vec![0, 0]), unattributed: 0 });
}

#[test]
fn an_unreadable_namespace_counts_drops_at_full_queues() {
    assert_eq!(without_count(&[pending(3, true), pending(2, false)]), [3, 0]);
}

/// An event at a listener (the last one is unknown to the agent), or a scan.
#[derive(Clone, Copy, Debug)]
enum Step {
    Overflow(usize),
    /// A drop that is not an overflow.
    Other(usize),
    Scan,
}

const LISTENERS: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let overflow = (0..=LISTENERS).prop_map(Step::Overflow);
    let other = (0..LISTENERS).prop_map(Step::Other);
    prop::collection::vec(prop_oneof![4 => overflow, 1 => other, 2 => Just(Step::Scan)], 0..120)
}

/// What was attributed to each listener, and what happened.
#[derive(Debug, Default)]
struct Tally {
    attributed: [u64; LISTENERS],
    unattributed: u64,
    happened: [u64; LISTENERS],
    total: u64,
}

impl Tally {
    /// Overflows of the unknown listener.
    fn unknown(&self) -> u64 {
        self.total - self.happened.iter().sum::<u64>()
    }
}

/// A simulated namespace and its attribution.
struct Run {
    attribution: Attribution,
    now: u64,
    open: [Pending; LISTENERS],
    /// Overflows are counted by hooks; otherwise only drops are known.
    hooked: bool,
    tally: Tally,
}

impl Run {
    fn begin(now: u64, hooked: bool) -> Self {
        Self { attribution: Attribution::default(), now, open: <_>::default(), hooked, tally: Tally::default() }
    }

    fn play(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Overflow(at) => self.overflow(at),
                Step::Other(_) if self.hooked => {}
                Step::Other(at) => self.open[at].drops += 1,
                Step::Scan => self.scan(still(self.now), self.open),
            }
        }
    }

    fn overflow(&mut self, at: usize) {
        self.now += 1;
        self.tally.total += 1;
        if at < LISTENERS {
            self.tally.happened[at] += 1;
            self.open[at].full = true;
            let counted = if self.hooked { &mut self.open[at].seen } else { &mut self.open[at].drops };
            *counted += 1;
        }
    }

    /// `pending`: what the scan found at the listeners.
    fn scan(&mut self, count: OverflowCount, pending: [Pending; LISTENERS]) {
        let attributed = self.attribution.attribute(count, &pending);
        self.tally.unattributed += attributed.unattributed;
        for (at, count) in attributed.overflows.into_iter().flatten().enumerate() {
            self.tally.attributed[at] += count;
            self.open[at].seen -= pending[at].seen;
            self.open[at].drops -= pending[at].drops;
        }
    }
}

/// A run without overflows during the first scan.
fn run(steps: &[Step], hooked: bool) -> Tally {
    let mut run = Run::begin(1_000, hooked);
    run.play(&[Step::Scan]);
    run.play(steps);
    run.play(&[Step::Scan; 3]);
    run.tally
}

fn without_scans() -> impl Strategy<Value = Vec<Step>> {
    steps().prop_map(|steps| steps.into_iter().filter(|step| !matches!(step, Step::Scan)).collect())
}

proptest! {
    #[test]
    fn hooked_overflows_are_attributed_exactly(steps in steps()) {
        let tally = run(&steps, true);
        prop_assert_eq!(tally.attributed, tally.happened);
        prop_assert_eq!(tally.attributed.iter().sum::<u64>() + tally.unattributed, tally.total);
    }

    #[test]
    fn the_sum_equals_the_namespaces_count(steps in steps()) {
        let tally = run(&steps, false);
        prop_assert_eq!(tally.attributed.iter().sum::<u64>() + tally.unattributed, tally.total);
    }

    /// Overflows before the first scan, during it on either side of the walk over the listeners, and after it.
    #[test]
    fn a_first_scan_amid_overflows_loses_none(
        old in prop_oneof![Just(0_u64), Just(1_000)],
        early in [without_scans(), without_scans(), without_scans()],
        flood in without_scans(),
        later in steps(),
    ) {
        let mut run = Run::begin(old, true);
        let [first, second, third] = early;
        run.play(&first);
        let (before, unknown_before) = (run.now, run.tally.unknown());
        run.play(&second);
        let found = run.open;
        run.play(&third);
        run.scan(OverflowCount { before, now: run.now }, found);
        let ours = found.iter().map(|it| it.seen).sum::<u64>();
        let uncertain = ours.min(run.now - before);
        run.play(&flood);
        run.play(&later);
        run.play(&[Step::Scan; 3]);
        prop_assert_eq!(run.tally.attributed, run.tally.happened);
        let (reported, unknown) = (run.tally.unattributed, run.tally.unknown() - unknown_before);
        prop_assert!(reported <= unknown && unknown <= reported + uncertain, "{} of {}", reported, unknown);
    }
}
