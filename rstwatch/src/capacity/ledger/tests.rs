use proptest::prelude::*;

use super::*;

const fn pending(drops: u64, full: bool) -> Pending {
    Pending { drops, full }
}

const fn counted(overflows: u64, drops: u64) -> Counted {
    Counted { overflows, drops }
}

/// Looks at a namespace, each with its counters and what is pending, and what each settles.
type Look = (Counted, &'static [Pending], Option<&'static [u64]>, u64);

const CASES: &[(&str, &[Look])] = &[
    (
        "a namespace as new as its listeners",
        &[(counted(7, 7), &[pending(5, true), pending(2, false)], Some(&[5, 2]), 0)],
    ),
    (
        "what was there before us is nobody's",
        &[
            (counted(100, 120), &[pending(0, false)], Some(&[0]), 0),
            (counted(103, 123), &[pending(3, false)], Some(&[3]), 0),
        ],
    ),
    (
        "counted after the look at the listener: the next look finds it",
        &[
            (counted(0, 0), &[pending(0, false)], Some(&[0]), 0),
            (counted(4, 4), &[pending(3, true)], Some(&[3]), 0),
            (counted(4, 4), &[pending(1, true)], Some(&[1]), 0),
        ],
    ),
    (
        "read between two counters: told apart at the next look",
        &[
            (counted(0, 0), &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (counted(4, 5), &[pending(3, true), pending(2, true)], None, 0),
            (counted(5, 5), &[pending(3, true), pending(2, true)], Some(&[3, 2]), 0),
        ],
    ),
    (
        "drops of another kind, of one listener alone",
        &[
            (counted(0, 0), &[pending(0, false)], Some(&[0]), 0),
            (counted(2, 9), &[pending(9, true)], None, 0),
            (counted(2, 9), &[pending(9, true)], Some(&[2]), 0),
        ],
    ),
    (
        "drops of another kind at a second listener, whose queue had room",
        &[
            (counted(0, 0), &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (counted(2, 9), &[pending(7, false), pending(2, true)], None, 0),
            (counted(2, 9), &[pending(7, false), pending(2, true)], Some(&[0, 2]), 0),
        ],
    ),
    (
        "not to be told apart: nobody's",
        &[
            (counted(0, 0), &[pending(0, false), pending(0, false)], Some(&[0, 0]), 0),
            (counted(2, 9), &[pending(7, true), pending(2, true)], None, 0),
            (counted(2, 9), &[pending(7, true), pending(2, true)], Some(&[0, 0]), 2),
        ],
    ),
    (
        "a listener that nobody knows, then another namespace of that inode",
        &[
            (counted(50, 50), &[], Some(&[]), 0),
            (counted(53, 53), &[], Some(&[]), 0),
            (counted(53, 53), &[], Some(&[]), 3),
            (counted(1, 1), &[pending(1, true)], Some(&[1]), 0),
        ],
    ),
];

#[test]
fn drops_become_overflows() {
    for (what, looks) in CASES {
        let mut ledger = Ledger::default();
        for (now, pending, overflows, unattributed) in *looks {
            let expected = Settled { overflows: overflows.map(<[u64]>::to_vec), unattributed: *unattributed };
            assert_eq!(ledger.settle(*now, pending), expected, "{what}: {now:?}");
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
    Other(usize),
    Look,
}

const LISTENERS: usize = 3;

fn steps(others: bool) -> impl Strategy<Value = Vec<Step>> {
    let overflow = (0..=LISTENERS).prop_map(Step::Overflow);
    let other = (0..LISTENERS).prop_map(move |at| if others { Step::Other(at) } else { Step::Look });
    prop::collection::vec(prop_oneof![4 => overflow, 1 => other, 2 => Just(Step::Look)], 0..120)
}

/// Runs the steps against the books; answers what each listener and nobody got, and what happened.
fn run(steps: &[Step]) -> ([u64; LISTENERS], u64, [u64; LISTENERS], u64) {
    let (mut ledger, mut now) = (Ledger::default(), counted(1_000, 1_000));
    let (mut got, mut happened) = ([0; LISTENERS], [0; LISTENERS]);
    let (mut nobodys, mut total) = (0, 0);
    let mut open = [Pending::default(); LISTENERS];
    ledger.settle(now, &open);
    for step in steps.iter().chain([&Step::Look; 3]) {
        match *step {
            Step::Overflow(at) => {
                (now.overflows, now.drops, total) = (now.overflows + 1, now.drops + 1, total + 1);
                if at < LISTENERS {
                    happened[at] += 1;
                    open[at] = pending(open[at].drops + 1, true);
                }
            }
            Step::Other(at) => {
                now.drops += 1;
                open[at].drops += 1;
            }
            Step::Look => {
                let settled = ledger.settle(now, &open);
                nobodys += settled.unattributed;
                if let Some(overflows) = settled.overflows {
                    overflows.iter().enumerate().for_each(|(at, count)| got[at] += count);
                    open = [Pending::default(); LISTENERS];
                }
            }
        }
    }
    (got, nobodys, happened, total)
}

proptest! {
    #[test]
    fn without_other_drops_each_listener_gets_its_own(steps in steps(false)) {
        let (got, nobodys, happened, total) = run(&steps);
        prop_assert_eq!(got, happened);
        prop_assert_eq!(got.iter().sum::<u64>() + nobodys, total);
    }

    #[test]
    fn the_sum_is_the_namespaces_count(steps in steps(true)) {
        let (got, nobodys, _, total) = run(&steps);
        prop_assert_eq!(got.iter().sum::<u64>() + nobodys, total);
    }
}
