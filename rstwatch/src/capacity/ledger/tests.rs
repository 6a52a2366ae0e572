use proptest::prelude::*;

use super::*;

const fn pending(drops: u64, full: bool) -> Pending {
    Pending { seen: 0, drops, full }
}

const fn seen(seen: u64, drops: u64) -> Pending {
    Pending { seen, drops, full: true }
}

/// Nothing came during the look.
const fn still(now: u64) -> Count {
    Count { before: now, now }
}

/// A look at a namespace: its count, what is pending, and what is settled.
type Look = (u64, &'static [Pending], Option<&'static [u64]>, u64);

const CASES: &[(&str, &[Look])] = &[
    ("a namespace as new as its listeners", &[(7, &[pending(5, true), pending(2, true)], Some(&[5, 2]), 0)]),
    ("a new one, whose queues were emptied at once", &[(7, &[pending(5, false), pending(2, false)], Some(&[5, 2]), 0)]),
    (
        "what was there before us is nobody's",
        &[(100, &[pending(0, false)], Some(&[0]), 0), (103, &[pending(3, false)], Some(&[3]), 0)],
    ),
    (
        "counted after the look at the listener: the next look finds it",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (4, &[pending(3, true)], Some(&[3]), 0),
            (4, &[pending(1, true)], Some(&[1]), 0),
        ],
    ),
    (
        "between two readings: told apart at the next look",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (6, &[pending(3, false), pending(2, false)], None, 0),
            (6, &[pending(4, false), pending(2, false)], Some(&[4, 2]), 0),
        ],
    ),
    ("drops of another kind", &[(0, &[pending(0, false)], Some(&[0]), 0), (0, &[pending(9, false)], Some(&[0]), 0)]),
    (
        "drops of another kind at a full queue: no more than there is",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (2, &[pending(9, true)], None, 0),
            (2, &[pending(9, true)], Some(&[2]), 0),
        ],
    ),
    (
        "drops of another kind beside a full queue",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (2, &[pending(7, false), pending(2, true)], Some(&[0, 2]), 0),
        ],
    ),
    (
        "overflows of a listener that nobody knows beside such drops",
        &[
            (0, &[pending(0, false)], Some(&[0]), 0),
            (10, &[pending(8, false)], None, 0),
            (10, &[pending(8, false)], Some(&[0]), 10),
        ],
    ),
    (
        "not to be told apart: nobody's",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (2, &[pending(7, true), pending(2, true)], None, 0),
            (2, &[pending(7, true), pending(2, true)], Some(&[0, 0]), 2),
        ],
    ),
    (
        "seen ones, and drops of another kind beside them",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (8, &[seen(5, 9), seen(3, 2)], Some(&[5, 3]), 0),
            (18, &[seen(5, 5), pending(3, false)], Some(&[10, 0]), 0),
        ],
    ),
    (
        "more seen than the kernel then counted: somebody was accepted just then",
        &[
            (0, &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (4, &[seen(3, 0), seen(2, 0)], None, 0),
            (4, &[seen(3, 0), seen(2, 0)], Some(&[3, 1]), 0),
        ],
    ),
    (
        "a listener that nobody knows, then another namespace of that inode",
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
    for (what, looks) in CASES {
        let mut ledger = Ledger::default();
        for (now, pending, overflows, unattributed) in *looks {
            let expected = Settled { overflows: overflows.map(<[u64]>::to_vec), unattributed: *unattributed };
            assert_eq!(ledger.settle(still(*now), pending), expected, "{what}: {now}");
        }
    }
}

/// Looks at a namespace from the first on: its counts before and after the look, what its listener has met since the last look,
/// and what is nobody's.
type First = [(u64, u64, u64, u64)];

const FIRST: &[(&str, &First)] = &[
    ("a new namespace, all of it after the listener was looked at", &[(0, 9, 0, 0), (10, 10, 10, 0), (10, 10, 0, 0)]),
    ("some of it before", &[(0, 9, 5, 0), (10, 10, 5, 0), (10, 10, 0, 0)]),
    ("all of it before", &[(0, 9, 9, 0), (10, 10, 1, 0), (10, 10, 0, 0)]),
    ("of a listener that nobody knows", &[(0, 9, 0, 0), (9, 9, 0, 9)]),
    ("the same in an old namespace", &[(100, 109, 0, 0), (109, 109, 0, 9)]),
    ("an old namespace, some of it before", &[(100, 109, 5, 0), (110, 110, 5, 0), (110, 110, 0, 0)]),
    ("all of it before, and a flood goes on", &[(100, 105, 5, 0), (205, 205, 100, 0), (205, 205, 0, 0)]),
    ("and a trickle goes on", &[(100, 105, 5, 0), (108, 108, 3, 0), (111, 111, 3, 0), (111, 111, 0, 0)]),
    (
        "all of it after, and a flood goes on",
        &[(100, 105, 5, 0), (205, 205, 105, 0), (206, 206, 0, 0), (206, 206, 0, 1)],
    ),
    ("nothing came during the look, and then somebody's", &[(105, 105, 5, 0), (106, 106, 0, 0), (106, 106, 0, 1)]),
];

#[test]
fn what_comes_during_the_first_look_is_its_listeners() {
    for (what, looks) in FIRST {
        let mut ledger = Ledger::default();
        for (at, (before, now, met, nobodys)) in looks.iter().enumerate() {
            let settled = ledger.settle(Count { before: *before, now: *now }, &[seen(*met, 0)]);
            assert_eq!(settled, Settled { overflows: Some(vec![*met]), unattributed: *nobodys }, "{what}: look {at}");
        }
    }
}

/// Where drops tell, what may be older is given to nobody by them.
#[test]
fn drops_of_another_kind_are_not_what_came_during_the_first_look() {
    let mut ledger = Ledger::default();
    let first = ledger.settle(Count { before: 100, now: 105 }, &[pending(5, true), pending(0, false)]);
    assert_eq!(first, Settled { overflows: Some(vec![5, 0]), unattributed: 0 });
    let second = ledger.settle(still(105), &[pending(0, false), pending(5, false)]);
    assert_eq!(second, Settled { overflows: Some(vec![0, 0]), unattributed: 0 });
}

#[test]
fn an_unread_namespace_counts_what_met_a_full_queue() {
    assert_eq!(unread(&[pending(3, true), pending(2, false)]), [3, 0]);
}

/// What happens to a listener (the last one is not known to us), and looks.
#[derive(Clone, Copy, Debug)]
enum Step {
    Overflow(usize),
    /// A drop that is no overflow.
    Other(usize),
    Look,
}

const LISTENERS: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let overflow = (0..=LISTENERS).prop_map(Step::Overflow);
    let other = (0..LISTENERS).prop_map(Step::Other);
    prop::collection::vec(prop_oneof![4 => overflow, 1 => other, 2 => Just(Step::Look)], 0..120)
}

/// What each listener and nobody got, and what happened.
#[derive(Debug, Default)]
struct Outcome {
    got: [u64; LISTENERS],
    nobodys: u64,
    happened: [u64; LISTENERS],
    total: u64,
}

impl Outcome {
    /// Of the listener that is not known.
    fn unknown(&self) -> u64 {
        self.total - self.happened.iter().sum::<u64>()
    }
}

/// A run against the books of a namespace.
struct Run {
    ledger: Ledger,
    now: u64,
    open: [Pending; LISTENERS],
    /// What is pending was counted where it happens; else it is the drops.
    hooked: bool,
    outcome: Outcome,
}

impl Run {
    fn begin(now: u64, hooked: bool) -> Self {
        Self { ledger: Ledger::default(), now, open: <_>::default(), hooked, outcome: Outcome::default() }
    }

    fn play(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Overflow(at) => self.overflow(at),
                Step::Other(_) if self.hooked => {}
                Step::Other(at) => self.open[at].drops += 1,
                Step::Look => self.look(still(self.now), self.open),
            }
        }
    }

    fn overflow(&mut self, at: usize) {
        self.now += 1;
        self.outcome.total += 1;
        if at < LISTENERS {
            self.outcome.happened[at] += 1;
            self.open[at].full = true;
            let counted = if self.hooked { &mut self.open[at].seen } else { &mut self.open[at].drops };
            *counted += 1;
        }
    }

    /// `pending`: what the look found at the listeners.
    fn look(&mut self, count: Count, pending: [Pending; LISTENERS]) {
        let settled = self.ledger.settle(count, &pending);
        self.outcome.nobodys += settled.unattributed;
        for (at, count) in settled.overflows.into_iter().flatten().enumerate() {
            self.outcome.got[at] += count;
            self.open[at].seen -= pending[at].seen;
            self.open[at].drops -= pending[at].drops;
        }
    }
}

/// From books that were opened in peace.
fn run(steps: &[Step], hooked: bool) -> Outcome {
    let mut run = Run::begin(1_000, hooked);
    run.play(&[Step::Look]);
    run.play(steps);
    run.play(&[Step::Look; 3]);
    run.outcome
}

fn without_looks() -> impl Strategy<Value = Vec<Step>> {
    steps().prop_map(|steps| steps.into_iter().filter(|step| !matches!(step, Step::Look)).collect())
}

proptest! {
    #[test]
    fn what_is_counted_at_the_hooks_is_each_listeners_own(steps in steps()) {
        let outcome = run(&steps, true);
        prop_assert_eq!(outcome.got, outcome.happened);
        prop_assert_eq!(outcome.got.iter().sum::<u64>() + outcome.nobodys, outcome.total);
    }

    #[test]
    fn the_sum_is_the_namespaces_count(steps in steps()) {
        let outcome = run(&steps, false);
        prop_assert_eq!(outcome.got.iter().sum::<u64>() + outcome.nobodys, outcome.total);
    }

    /// Before the look, in it on either side of the walk over the listeners, and after it.
    #[test]
    fn a_first_look_amid_overflows_loses_none(
        old in prop_oneof![Just(0_u64), Just(1_000)],
        early in [without_looks(), without_looks(), without_looks()],
        flood in without_looks(),
        later in steps(),
    ) {
        let mut run = Run::begin(old, true);
        let [first, second, third] = early;
        run.play(&first);
        let (before, unknown_before) = (run.now, run.outcome.unknown());
        run.play(&second);
        let found = run.open;
        run.play(&third);
        run.look(Count { before, now: run.now }, found);
        let ours = found.iter().map(|it| it.seen).sum::<u64>();
        let doubtful = ours.min(run.now - before);
        run.play(&flood);
        run.play(&later);
        run.play(&[Step::Look; 3]);
        prop_assert_eq!(run.outcome.got, run.outcome.happened);
        let (nobodys, unknown) = (run.outcome.nobodys, run.outcome.unknown() - unknown_before);
        prop_assert!(nobodys <= unknown && unknown <= nobodys + doubtful, "{} of {}", nobodys, unknown);
    }
}
