use std::sync::Arc;

use super::*;
use crate::identity::owner::cache::{Cache, Keeper};
use crate::identity::owner::owners::Outcome;
use crate::identity::owner::path::parse;
use rstwatch_verdict::identity::Identity;
use rstwatch_verdict::testing::sample;

struct Bench {
    naming: Naming,
    keeper: Keeper,
    owners: Owners,
}

impl Bench {
    /// Cgroup 7 is known, nothing else.
    fn new() -> Self {
        let cache = Arc::new(Cache::default());
        let mut keeper = Keeper::new(Arc::clone(&cache));
        keeper.came(7, 0, parse("/system.slice/nginx.service"));
        let owners = Owners::of_cache(cache, None);
        let naming = Naming::by(owners.clone());
        Self { naming, keeper, owners }
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.owners.counts().iter().find(|(counted, _)| *counted == outcome).map_or(0, |(_, count)| *count)
    }
}

fn event(cgroup: u64, tgid: u32) -> Judged {
    let mut event = sample::idle_reaped();
    event.workload = event.process.as_ref().map(rstwatch_verdict::identity::workload);
    Judged { identity: Identity { cgroup, tgid, ..Identity::default() }, ..sample::judged(event) }
}

fn name(judged: &Judged) -> &str {
    judged.event.workload.as_ref().map_or("", |workload| &workload.name)
}

#[test]
fn what_is_known_leaves_at_once() {
    let mut bench = Bench::new();
    let named = bench.naming.take(event(7, 5), 0).expect("known");
    assert_eq!((name(&named), bench.counted(Outcome::Unit)), ("nginx.service", 1));
    let nobodys = bench.naming.take(event(0, 0), 0).expect("there is nothing to look up");
    assert_eq!(name(&nobodys), "orders-api");
    assert!(!bench.naming.is_waiting());
    assert_eq!(bench.owners.counts().iter().map(|(_, count)| count).sum::<u64>(), 1);
}

#[test]
fn an_unknown_owner_waits_while_others_pass() {
    let mut bench = Bench::new();
    assert!(bench.naming.take(event(8, 5), 1_000).is_none());
    assert!(bench.naming.take(event(7, 5), 2_000).is_some(), "it is not held up");
    assert!(bench.naming.pop(3_000).is_none());
    assert_eq!(bench.naming.until(1_000), Some(PATIENCE));
    bench.keeper.came(8, 0, parse("/system.slice/new.service"));
    assert!(bench.naming.pop(4_000).is_none(), "the thread has not said so yet");
    bench.owners.tell();
    assert_eq!(name(&bench.naming.pop(5_000).expect("answered")), "new.service");
    assert!(!bench.naming.is_waiting());
}

#[test]
fn nobody_waits_for_longer_than_a_tenth_of_a_second() {
    let mut bench = Bench::new();
    assert!(bench.naming.take(event(8, 5), 1_000).is_none());
    let end = 1_000 + nanos(PATIENCE);
    assert!(bench.naming.pop(end - 1).is_none());
    let frozen = bench.naming.pop(end).expect("it leaves");
    assert_eq!((name(&frozen), bench.counted(Outcome::Unresolved)), ("orders-api", 1));
}

#[test]
fn a_flood_is_neither_lost_nor_held() {
    let mut bench = Bench::new();
    let flood = 10 * MOST;
    let left = (0..flood).filter(|_| bench.naming.take(event(8, 5), 0).is_some()).count();
    assert_eq!(left, flood - MOST, "only so many wait");
    bench.keeper.told(&Identity { tgid: 5, ..Identity::default() }, None);
    let rest = bench.naming.finish();
    assert_eq!(rest.len(), MOST);
    let counts: u64 = bench.owners.counts().iter().map(|(_, count)| count).sum();
    assert_eq!(counts, u64::try_from(flood).expect("small"), "each was counted once");
    assert!(!bench.naming.is_waiting() && bench.naming.pop(u64::MAX).is_none());
}

#[test]
fn at_the_end_nothing_is_left() {
    let mut bench = Bench::new();
    for cgroup in [8, 9] {
        assert!(bench.naming.take(event(cgroup, 5), 0).is_none());
    }
    bench.keeper.came(8, 0, parse("/system.slice/new.service"));
    bench.keeper.told(&Identity { tgid: 5, ..Identity::default() }, None);
    bench.owners.tell();
    let rest = bench.naming.finish();
    assert_eq!(rest.iter().map(name).collect::<Vec<_>>(), ["new.service", "orders-api"]);
}

#[test]
fn without_owners_events_pass() {
    let mut naming = Naming::default();
    let passed = naming.take(event(7, 5), 0).expect("nobody to ask");
    assert_eq!(name(&passed), "orders-api");
    assert!(naming.finish().is_empty() && naming.until(0).is_none());
}
