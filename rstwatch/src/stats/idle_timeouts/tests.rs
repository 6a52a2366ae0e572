use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use rstwatch_verdict::testing::sample;
use rstwatch_verdict::timing::Timer;

fn peer(index: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 7, 12], 5000 + index))
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn death(of: u16, ms: u64, exact: bool) -> Judged {
    let mut judged = sample::judged_idle_reaped();
    judged.event.remote = peer(of);
    judged.timing.timer = Some(Timer { after: millis(ms), exact });
    judged.event.idle_ms = Some(ms + 1_200);
    judged
}

fn gaps(of: u16) -> PeerGaps {
    PeerGaps { peer: peer(of), netns: 1, survived: None, survived_count: 0, closed: None, closed_count: 0 }
}

fn survived(of: u16, ms: u64, count: u64) -> [PeerGaps; 1] {
    [PeerGaps { survived: Some(millis(ms)), survived_count: count, ..gaps(of) }]
}

fn closed(of: u16, ms: u64, count: u64) -> [PeerGaps; 1] {
    [PeerGaps { closed: Some(millis(ms)), closed_count: count, ..gaps(of) }]
}

/// The timeout of destination 0 and its candidates, after these steps.
fn estimate(steps: impl FnOnce(&mut IdleTimeouts)) -> (String, String) {
    let mut timeouts = IdleTimeouts::new(10);
    steps(&mut timeouts);
    let timeout = timeouts.all().into_iter().find(|it| it.peer == peer(0)).expect("known");
    let candidates = timeout.candidates();
    (timeout.timeout, candidates)
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[test]
fn bounds_in_words() {
    type Steps = fn(&mut IdleTimeouts);
    let cases: &[(Steps, &str, &str)] = &[
        (|it| it.absorb(&survived(0, 58_900, 3), NOW), "longer than 58.9 s", ""),
        (|it| it.record(&death(0, 61_210, false)), "at most 61.3 s", "AWS ALB 60"),
        // A single death may be a restart.
        (|it| it.record(&death(0, 60_010, true)), "at most 60.1 s", "AWS ALB 60"),
        (|it| [60_010, 60_030].iter().for_each(|ms| it.record(&death(0, *ms, true))), "60.0 s", "AWS ALB 60"),
        (
            |it| {
                it.absorb(&survived(0, 59_000, 1), NOW);
                it.record(&death(0, 61_200, false));
            },
            "between 59.0 s and 61.2 s",
            "AWS ALB 60",
        ),
        // Closed twice, but only the shortest idle period is known.
        (
            |it| {
                it.absorb(&closed(0, 75_000, 1), NOW);
                it.absorb(&closed(0, 75_000, 2), NOW);
            },
            "at most 75.0 s",
            "nginx keepalive_timeout 75",
        ),
        // One connection that was closed and then reset.
        (
            |it| {
                it.absorb(&closed(0, 75_000, 1), NOW);
                it.record(&death(0, 75_000, true));
            },
            "at most 75.0 s",
            "nginx keepalive_timeout 75",
        ),
        // A restart after 10 s, because others survived longer.
        (
            |it| {
                it.record(&death(0, 10_000, true));
                it.record(&death(0, 61_200, false));
                it.absorb(&survived(0, 59_000, 1), NOW);
            },
            "between 59.0 s and 61.2 s",
            "AWS ALB 60",
        ),
        (
            |it| {
                it.absorb(&survived(0, 59_000, 1), NOW);
                it.record(&death(0, 10_000, true));
            },
            "longer than 59.0 s",
            "",
        ),
        // Within the error of measurement.
        (
            |it| {
                it.absorb(&survived(0, 60_100, 1), NOW);
                it.record(&death(0, 60_000, true));
            },
            "about 60.0 s",
            "AWS ALB 60",
        ),
        // Surviving 65 s rules out a timeout of 60 s.
        (
            |it| {
                it.absorb(&survived(0, 65_000, 1), NOW);
                it.record(&death(0, 66_000, false));
            },
            "between 65.0 s and 66.0 s",
            "Node http keep-alive (newer) 65",
        ),
    ];
    for (index, (steps, words, candidates)) in cases.iter().enumerate() {
        let (timeout, named) = estimate(steps);
        assert_eq!(timeout, *words, "case {index}");
        assert!(named.starts_with(candidates) && named.is_empty() == candidates.is_empty(), "case {index}: {named}");
    }
}

#[test]
fn only_idle_periods_of_outgoing_connections_count() {
    let mut timeouts = IdleTimeouts::new(10);
    let changes: [fn(&mut Judged); 4] = [
        |it| it.event.direction = Direction::Sent,
        |it| it.event.role = Role::Server,
        |it| it.event.cause = Cause::ProcessDied,
        |it| it.timing.timer = None,
    ];
    for change in changes {
        let mut event = death(0, 60_000, true);
        change(&mut event);
        timeouts.record(&event);
    }
    assert!(timeouts.all().is_empty());
    let mut mapped = death(0, 60_000, true);
    mapped.event.remote = "[::ffff:10.0.7.12]:5000".parse().expect("an address");
    timeouts.record(&mapped);
    let [timeout] = &timeouts.all()[..] else { panic!("one destination") };
    assert_eq!((timeout.peer, timeout.resets, timeout.longest_use), (peer(0), 1, Some(millis(61_200))));
}

#[test]
fn readings_are_totals() {
    let mut timeouts = IdleTimeouts::new(2);
    for (of, count) in [(0, 5), (0, 5), (0, 7), (0, 3)] {
        timeouts.absorb(&survived(of, 1_000, count), NOW);
    }
    // 5, nothing new, 2 more, and 3 after a reset to 0.
    assert_eq!(timeouts.all()[0].survivals, 10);
    // More peers than the limit, twice: the first reading counts, the second has nothing new.
    let many: Vec<_> = (0..9).flat_map(|of| survived(of, 1_000, 4)).collect();
    timeouts.absorb(&many, NOW);
    let evicted = timeouts.evicted();
    assert!(evicted > 0);
    timeouts.absorb(&many, NOW);
    assert_eq!((timeouts.evicted(), timeouts.all().len()), (evicted, 2));
}

#[test]
fn scrapes_show_at_most_the_configured_number() {
    for (shown, peers) in [(0, vec![]), (1, vec![peer(3)]), (9, vec![peer(3), peer(0)])] {
        let timeouts = SharedIdleTimeouts::new(10, shown, Arc::new(|| survived(0, 59_000, 1).to_vec()));
        timeouts.record(&death(3, 60_000, true));
        let found: Vec<_> = timeouts.shown().iter().map(|it| it.peer).collect();
        assert_eq!(found, peers, "destinations where connections died come first");
    }
}

#[test]
fn json_of_an_idle_timeout() {
    let mut timeouts = IdleTimeouts::new(2);
    timeouts.absorb(&survived(0, 58_900, 3), NOW);
    timeouts.record(&death(0, 60_010, true));
    let json = serde_json::to_string(&timeouts.all()[0]).expect("JSON");
    expect_test::expect![[r#"{"peer":"10.0.7.12:5000","timeout":"between 58.9 s and 60.1 s","survived_seconds":58.9,"survived_count":3,"died":{"seconds":60.01,"exact":true,"repeated":false,"device":false},"reset_count":1,"closed_count":0,"refuted_count":0,"longest_use_seconds":61.21,"timeout_candidates":[{"seconds":60,"who":"AWS ALB"},{"seconds":60,"who":"AWS Classic Load Balancer"}],"last_seen":"2025-10-09T12:31:07.482Z"}"#]]
    .assert_eq(&json);
}

#[derive(Clone, Debug)]
enum Step {
    Died(u16, u64, bool),
    Survived(u16, u64),
    Closed(u16, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u16, 1_000..90_000_u64, any::<bool>()).prop_map(|(of, ms, exact)| Step::Died(of, ms, exact)),
        (0..6_u16, 1_000..90_000_u64).prop_map(|(of, ms)| Step::Survived(of, ms)),
        (0..6_u16, 1_000..90_000_u64).prop_map(|(of, ms)| Step::Closed(of, ms)),
    ]
}

/// Everything ever seen of a destination.
#[derive(Default)]
struct Naive {
    deaths: Vec<Duration>,
    survived: Option<Duration>,
}

fn play(timeouts: &mut IdleTimeouts, steps: &[Step]) -> BTreeMap<SocketAddr, Naive> {
    let mut seen = BTreeMap::<SocketAddr, Naive>::new();
    for (index, step) in steps.iter().enumerate() {
        // Totals grow with each step, of whatever kind.
        let total = index as u64 + 1;
        match *step {
            Step::Died(of, ms, exact) => {
                timeouts.record(&death(of, ms, exact));
                seen.entry(peer(of)).or_default().deaths.push(millis(ms));
            }
            Step::Survived(of, ms) => {
                timeouts.absorb(&survived(of, ms, total), NOW);
                let naive = seen.entry(peer(of)).or_default();
                naive.survived = naive.survived.max(Some(millis(ms)));
            }
            Step::Closed(of, ms) => {
                timeouts.absorb(&closed(of, ms, total), NOW);
                seen.entry(peer(of)).or_default().deaths.push(millis(ms));
            }
        }
    }
    seen
}

proptest! {
    /// With fewer than [`KEPT`] deaths none is dropped, so the timeouts equal those of a model that keeps them all.
    #[test]
    fn bounds_equal_those_of_a_model_that_keeps_everything(steps in prop::collection::vec(step(), 0..KEPT)) {
        let mut timeouts = IdleTimeouts::new(100);
        let seen = play(&mut timeouts, &steps);
        let all = timeouts.all();
        prop_assert_eq!(all.len(), seen.len());
        for timeout in all {
            let naive = &seen[&timeout.peer];
            let shortest = naive.deaths.iter().filter(|death| !refutes(naive.survived, **death)).min().copied();
            prop_assert_eq!(timeout.died.map(|died| died.after), shortest);
            prop_assert_eq!(timeout.survived, naive.survived);
            let refuted = naive.deaths.iter().filter(|death| refutes(naive.survived, **death)).count() as u64;
            prop_assert!(timeout.refuted >= refuted);
        }
    }

    /// For any steps: the limit holds, each eviction is counted, and no timeouts contradict each other.
    #[test]
    fn destinations_are_limited_and_bounds_consistent(steps in prop::collection::vec(step(), 0..100), limit in 1..8_usize) {
        let mut timeouts = IdleTimeouts::new(limit);
        let distinct = play(&mut timeouts, &steps).len();
        prop_assert!(timeouts.known.len() <= limit && timeouts.order.len() == timeouts.known.len());
        prop_assert!(timeouts.known.len() as u64 + timeouts.evicted() >= distinct as u64);
        prop_assert!(distinct > limit || timeouts.evicted() == 0);
        for (peer, known) in &timeouts.known {
            prop_assert_eq!(timeouts.order.get(&known.tick), Some(peer));
            prop_assert!(known.deaths.len() <= KEPT && known.deaths.is_sorted_by_key(|death| death.after));
            prop_assert!(known.deaths.iter().all(|death| !refutes(known.survived, death.after)));
        }
    }
}
