use std::sync::Arc;

use super::*;
use crate::identity::owner::Outcome;
use crate::identity::owner::cache::{Cache, CacheWriter};
use crate::identity::owner::path::parse;
use rstwatch_verdict::identity::Identity;
use rstwatch_verdict::testing::sample;

struct Fixture {
    naming: Naming,
    writer: CacheWriter,
    owners: Owners,
}

impl Fixture {
    /// Only cgroup 7 is cached.
    fn new() -> Self {
        let cache = Arc::new(Cache::default());
        let mut writer = CacheWriter::new(Arc::clone(&cache));
        writer.insert_cgroup(7, 0, parse("/system.slice/nginx.service"));
        let owners = Owners::with_cache(cache, None).expect("a descriptor");
        let naming = Naming::new(owners.clone());
        Self { naming, writer, owners }
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.owners.counts().iter().find(|(counted, _)| *counted == outcome).map_or(0, |(_, count)| *count)
    }
}

fn event(cgroup: u64, tgid: u32) -> Box<Judged> {
    let mut event = sample::idle_reaped();
    event.workload = event.process.as_ref().map(rstwatch_verdict::identity::workload);
    Box::new(Judged { identity: Identity { cgroup, tgid, ..Identity::default() }, ..sample::judged(event) })
}

fn name(judged: &Judged) -> &str {
    judged.event.workload.as_ref().map_or("", |workload| &workload.name)
}

#[test]
fn a_cached_owner_is_named_at_once() {
    let mut fixture = Fixture::new();
    let named = fixture.naming.take(event(7, 5), || 0).expect("cached");
    assert_eq!((name(&named), fixture.counted(Outcome::Unit)), ("nginx.service", 1));
    let ownerless = fixture.naming.take(event(0, 0), || 0).expect("there is nothing to look up");
    assert_eq!(name(&ownerless), "orders-api");
    assert!(!fixture.naming.has_waiting());
    assert_eq!(fixture.owners.counts().iter().map(|(_, count)| count).sum::<u64>(), 1);
}

#[test]
fn an_unknown_owner_waits_while_others_pass() {
    let mut fixture = Fixture::new();
    assert!(fixture.naming.take(event(8, 5), || 1_000).is_none());
    assert!(fixture.naming.take(event(7, 5), || 2_000).is_some(), "it overtakes the waiting one");
    assert!(fixture.naming.pop(3_000).is_none());
    assert_eq!(fixture.naming.until_deadline(1_000), Some(LOOKUP_TIMEOUT));
    fixture.writer.insert_cgroup(8, 0, parse("/system.slice/new.service"));
    assert!(fixture.naming.pop(4_000).is_none(), "the worker has not finished its batch");
    fixture.owners.shared().notify();
    assert_eq!(name(&fixture.naming.pop(5_000).expect("resolved")), "new.service");
    assert!(!fixture.naming.has_waiting());
}

#[test]
fn an_event_waits_for_a_tenth_of_a_second_at_most() {
    let mut fixture = Fixture::new();
    assert!(fixture.naming.take(event(8, 5), || 1_000).is_none());
    let deadline = 1_000 + nanos(LOOKUP_TIMEOUT);
    assert!(fixture.naming.pop(deadline - 1).is_none());
    let overdue = fixture.naming.pop(deadline).expect("it leaves");
    assert_eq!((name(&overdue), fixture.counted(Outcome::Unresolved)), ("orders-api", 1));
}

#[test]
fn a_flood_is_bounded_and_loses_nothing() {
    let mut fixture = Fixture::new();
    let flood = 10 * MAX_WAITING;
    let left = (0..flood).filter(|_| fixture.naming.take(event(8, 5), || 0).is_some()).count();
    assert_eq!(left, flood - MAX_WAITING, "the number of waiting events is bounded");
    fixture.writer.insert_task(&Identity { tgid: 5, ..Identity::default() }, None);
    let rest = fixture.naming.finish();
    assert_eq!(rest.len(), MAX_WAITING);
    let counts: u64 = fixture.owners.counts().iter().map(|(_, count)| count).sum();
    assert_eq!(counts, u64::try_from(flood).expect("small"), "each was counted once");
    assert!(!fixture.naming.has_waiting() && fixture.naming.pop(u64::MAX).is_none());
}

#[test]
fn finish_returns_all_waiting_events() {
    let mut fixture = Fixture::new();
    for cgroup in [8, 9] {
        assert!(fixture.naming.take(event(cgroup, 5), || 0).is_none());
    }
    fixture.writer.insert_cgroup(8, 0, parse("/system.slice/new.service"));
    fixture.writer.insert_task(&Identity { tgid: 5, ..Identity::default() }, None);
    fixture.owners.shared().notify();
    let rest = fixture.naming.finish();
    assert_eq!(rest.iter().map(|judged| name(judged)).collect::<Vec<_>>(), ["new.service", "orders-api"]);
}

#[test]
fn without_owners_events_pass() {
    let mut naming = Naming::default();
    let passed = naming.take(event(7, 5), || 0).expect("no lookups");
    assert_eq!(name(&passed), "orders-api");
    assert!(naming.finish().is_empty() && naming.until_deadline(0).is_none());
}
