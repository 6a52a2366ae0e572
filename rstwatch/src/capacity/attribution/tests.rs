use proptest::prelude::*;

use super::*;

/// A listener that no hook watches.
const fn pending(drops: u64, full: bool) -> Pending {
    Pending { seen: 0, drops, full }
}

/// A listener with overflows that hooks saw.
const fn seen(seen: u64, drops: u64) -> Pending {
    Pending { seen, drops, full: true }
}

/// The count did not change during the scan.
const fn unchanged(now: u64) -> OverflowCount {
    OverflowCount { before: now, now }
}

/// A scan of a namespace: the kernel's count, what is pending at each listener, the overflows attributed to each (`None`:
/// undecided), and those left unattributed.
type Scan = (u64, &'static [Pending], Option<&'static [u64]>, u64);

const CASES: &[(&str, &[Scan])] = &[
    (
        "a namespace created together with its listeners",
        &[(7, &[pending(5, true), pending(2, true)], Some(&[5, 2]), 0)],
    ),
    (
        "a new namespace whose queues are no longer full",
        &[(7, &[pending(5, false), pending(2, false)], Some(&[5, 2]), 0)],
    ),
    (
        "overflows older than the agent are not reported",
        &[(100, &[pending(0, false)], Some(&[0]), 0), (103, &[pending(3, false)], Some(&[3]), 0)],
    ),
    (
        "an overflow after the listener was scanned: attributed by the next scan",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (4, &[pending(3, true)], Some(&[3]), 0),
            (4, &[pending(1, true)], Some(&[1]), 0),
        ],
    ),
    (
        "an overflow between the two readings: decided by the next scan",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (6, &[pending(3, false), pending(2, false)], None, 0),
            (6, &[pending(4, false), pending(2, false)], Some(&[4, 2]), 0),
        ],
    ),
    ("other drops", &[(0, &[pending(0, false)], Some(&[0]), 0), (0, &[pending(9, false)], Some(&[0]), 0)]),
    (
        "other drops at a full queue: never more than the kernel's count",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (2, &[pending(9, true)], None, 0),
            (2, &[pending(9, true)], Some(&[2]), 0),
        ],
    ),
    (
        "other drops at one listener, a full queue at another",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (2, &[pending(7, false), pending(2, true)], Some(&[0, 2]), 0),
        ],
    ),
    (
        "other drops at one listener, overflows at an unknown one",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (10, &[pending(8, false)], None, 0),
            (10, &[pending(8, false)], Some(&[0]), 10),
        ],
    ),
    (
        "ambiguous twice: left unattributed",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (2, &[pending(7, true), pending(2, true)], None, 0),
            (2, &[pending(7, true), pending(2, true)], Some(&[0, 0]), 2),
        ],
    ),
    (
        "hooked overflows together with other drops",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (8, &[seen(5, 9), seen(3, 2)], Some(&[5, 3]), 0),
            (18, &[seen(5, 5), pending(3, false)], Some(&[10, 0]), 0),
        ],
    ),
    (
        "hooks saw more than the kernel counted: accept() made room in between",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (4, &[seen(3, 0), seen(2, 0)], None, 0),
            (4, &[seen(3, 0), seen(2, 0)], Some(&[3, 1]), 0),
        ],
    ),
    (
        "an unknown listener; then the inode is reused by another namespace",
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
            assert_eq!(attribution.attribute(unchanged(*now), pending), expected, "{what}: {now}");
        }
    }
}

/// Scans of a namespace, starting with the first. Each: the kernel's count before and after the scan, overflows that hooks saw at
/// the listener since the last scan (all of which are attributed), and those left unattributed.
type FirstScans = [(u64, u64, u64, u64)];

const FIRST_SCANS: &[(&str, &FirstScans)] = &[
    ("new namespace: all overflows after the listener was scanned", &[(0, 9, 0, 0), (10, 10, 10, 0), (10, 10, 0, 0)]),
    ("new namespace: some before", &[(0, 9, 5, 0), (10, 10, 5, 0), (10, 10, 0, 0)]),
    ("new namespace: all before", &[(0, 9, 9, 0), (10, 10, 1, 0), (10, 10, 0, 0)]),
    ("new namespace: overflows of an unknown listener", &[(0, 9, 0, 0), (9, 9, 0, 9)]),
    ("old namespace: overflows of an unknown listener", &[(100, 109, 0, 0), (109, 109, 0, 9)]),
    ("old namespace: some before the listener was scanned", &[(100, 109, 5, 0), (110, 110, 5, 0), (110, 110, 0, 0)]),
    ("old namespace: all before, many follow", &[(100, 105, 5, 0), (205, 205, 100, 0), (205, 205, 0, 0)]),
    (
        "old namespace: all before, few follow",
        &[(100, 105, 5, 0), (108, 108, 3, 0), (111, 111, 3, 0), (111, 111, 0, 0)],
    ),
    (
        "old namespace: all after, many follow",
        &[(100, 105, 5, 0), (205, 205, 105, 0), (206, 206, 0, 0), (206, 206, 0, 1)],
    ),
    (
        "old namespace: none during the scan, then one of an unknown listener",
        &[(105, 105, 5, 0), (106, 106, 0, 0), (106, 106, 0, 1)],
    ),
];

#[test]
fn overflows_during_the_first_scan_are_attributed() {
    for (what, scans) in FIRST_SCANS {
        let mut attribution = Attribution::default();
        for (at, (before, now, overflows, unattributed)) in scans.iter().enumerate() {
            let count = OverflowCount { before: *before, now: *now };
            let expected = Attributed { overflows: Some(vec![*overflows]), unattributed: *unattributed };
            assert_eq!(attribution.attribute(count, &[seen(*overflows, 0)]), expected, "{what}: scan {at}");
        }
    }
}

/// Drops cannot claim overflows that may be older than the agent.
#[test]
fn other_drops_do_not_claim_overflows_of_the_first_scan() {
    let mut attribution = Attribution::default();
    let first = attribution.attribute(OverflowCount { before: 100, now: 105 }, &[pending(5, true), pending(0, false)]);
    assert_eq!(first, Attributed { overflows: Some(vec![5, 0]), unattributed: 0 });
    let second = attribution.attribute(unchanged(105), &[pending(0, false), pending(5, false)]);
    assert_eq!(second, Attributed { overflows: Some(vec![0, 0]), unattributed: 0 });
}

#[test]
fn without_a_count_drops_at_full_queues_are_overflows() {
    assert_eq!(without_count(&[pending(3, true), pending(2, false)]), [3, 0]);
}

/// One step of a simulation.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// At this listener; [`LISTENERS`] stands for one that the agent does not know.
    Overflow(usize),
    /// A drop that is not an overflow.
    OtherDrop(usize),
    Scan,
}

const LISTENERS: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let overflow = (0..=LISTENERS).prop_map(Step::Overflow);
    let other = (0..LISTENERS).prop_map(Step::OtherDrop);
    prop::collection::vec(prop_oneof![4 => overflow, 1 => other, 2 => Just(Step::Scan)], 0..120)
}

/// Overflows as attributed, and as they happened.
#[derive(Debug, Default)]
struct Tally {
    attributed: [u64; LISTENERS],
    unattributed: u64,
    happened: [u64; LISTENERS],
    /// Includes those of the unknown listener.
    total: u64,
}

impl Tally {
    /// Overflows of the unknown listener.
    fn unknown(&self) -> u64 {
        self.total - self.happened.iter().sum::<u64>()
    }
}

/// A simulated namespace and the attribution under test.
struct Simulation {
    attribution: Attribution,
    /// The kernel's count.
    now: u64,
    pending: [Pending; LISTENERS],
    /// Hooks see each overflow; otherwise only drops are known.
    hooked: bool,
    tally: Tally,
}

impl Simulation {
    fn begin(now: u64, hooked: bool) -> Self {
        Self { attribution: Attribution::default(), now, pending: <_>::default(), hooked, tally: Tally::default() }
    }

    fn play(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Overflow(at) => self.overflow(at),
                Step::OtherDrop(_) if self.hooked => {}
                Step::OtherDrop(at) => self.pending[at].drops += 1,
                Step::Scan => self.scan(unchanged(self.now), self.pending),
            }
        }
    }

    fn overflow(&mut self, at: usize) {
        self.now += 1;
        self.tally.total += 1;
        if at < LISTENERS {
            self.tally.happened[at] += 1;
            self.pending[at].full = true;
            let counted = if self.hooked { &mut self.pending[at].seen } else { &mut self.pending[at].drops };
            *counted += 1;
        }
    }

    /// Attributes what the scan found at the listeners (`pending`).
    fn scan(&mut self, count: OverflowCount, pending: [Pending; LISTENERS]) {
        let attributed = self.attribution.attribute(count, &pending);
        self.tally.unattributed += attributed.unattributed;
        for (at, count) in attributed.overflows.into_iter().flatten().enumerate() {
            self.tally.attributed[at] += count;
            self.pending[at].seen -= pending[at].seen;
            self.pending[at].drops -= pending[at].drops;
        }
    }
}

/// Simulates these steps after a first scan without overflows.
fn simulate(steps: &[Step], hooked: bool) -> Tally {
    let mut simulation = Simulation::begin(1_000, hooked);
    simulation.play(&[Step::Scan]);
    simulation.play(steps);
    simulation.play(&[Step::Scan; 3]);
    simulation.tally
}

fn without_scans() -> impl Strategy<Value = Vec<Step>> {
    steps().prop_map(|steps| steps.into_iter().filter(|step| !matches!(step, Step::Scan)).collect())
}

proptest! {
    #[test]
    fn hooked_overflows_are_attributed_exactly(steps in steps()) {
        let tally = simulate(&steps, true);
        prop_assert_eq!(tally.attributed, tally.happened);
        prop_assert_eq!(tally.attributed.iter().sum::<u64>() + tally.unattributed, tally.total);
    }

    #[test]
    fn attributed_and_unattributed_sum_to_the_kernels_count(steps in steps()) {
        let tally = simulate(&steps, false);
        prop_assert_eq!(tally.attributed.iter().sum::<u64>() + tally.unattributed, tally.total);
    }

    /// Overflows happen before the first scan, during it (before and after the listeners are read), and after it.
    #[test]
    fn no_overflow_is_lost_around_the_first_scan(
        older in prop_oneof![Just(0_u64), Just(1_000)],
        around_first_scan in [without_scans(), without_scans(), without_scans()],
        before_second_scan in without_scans(),
        later in steps(),
    ) {
        let mut simulation = Simulation::begin(older, true);
        let [before_scan, before_reading, after_reading] = around_first_scan;
        simulation.play(&before_scan);
        let (before, unknown_before) = (simulation.now, simulation.tally.unknown());
        simulation.play(&before_reading);
        let found = simulation.pending;
        simulation.play(&after_reading);
        simulation.scan(OverflowCount { before, now: simulation.now }, found);
        let hooked = found.iter().map(|it| it.seen).sum::<u64>();
        let uncertain = hooked.min(simulation.now - before);
        simulation.play(&before_second_scan);
        simulation.play(&later);
        simulation.play(&[Step::Scan; 3]);
        prop_assert_eq!(simulation.tally.attributed, simulation.tally.happened);
        let (reported, unknown) = (simulation.tally.unattributed, simulation.tally.unknown() - unknown_before);
        prop_assert!(reported <= unknown && unknown <= reported + uncertain, "{} of {}", reported, unknown);
    }
}
