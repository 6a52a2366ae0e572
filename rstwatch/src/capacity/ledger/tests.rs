use proptest::prelude::*;

use super::*;

const fn pending(drops: u64, full: bool) -> Pending {
    Pending { seen: 0, drops, full }
}

const fn seen(seen: u64, drops: u64) -> Pending {
    Pending { seen, drops, full: true }
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
            assert_eq!(ledger.settle(*now, pending), expected, "{what}: {now}");
        }
    }
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

/// Runs the steps against the books. `hooked`: what is pending was counted where it happens; else it is the drops.
fn run(steps: &[Step], hooked: bool) -> Outcome {
    let (mut ledger, mut now, mut outcome) = (Ledger::default(), 1_000, Outcome::default());
    let mut open = [Pending::default(); LISTENERS];
    ledger.settle(now, &open);
    for step in steps.iter().chain([&Step::Look; 3]) {
        match *step {
            Step::Overflow(at) => {
                (now, outcome.total) = (now + 1, outcome.total + 1);
                if at < LISTENERS {
                    outcome.happened[at] += 1;
                    match hooked {
                        true => open[at].seen += 1,
                        false => open[at].drops += 1,
                    }
                    open[at].full = true;
                }
            }
            Step::Other(_) if hooked => {}
            Step::Other(at) => open[at].drops += 1,
            Step::Look => {
                let settled = ledger.settle(now, &open);
                outcome.nobodys += settled.unattributed;
                if let Some(overflows) = settled.overflows {
                    overflows.iter().enumerate().for_each(|(at, count)| outcome.got[at] += count);
                    open = [Pending::default(); LISTENERS];
                }
            }
        }
    }
    outcome
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
}
