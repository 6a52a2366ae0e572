//! What is attached, with the maps that the daemon reads.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};

use super::counters::{Counters, Sees};
use super::features::RESET_REASONS;
use super::gaps::GapMap;
use super::hooks::{
    ANSWER_HOOKS, EVICTION_HOOK, HELD_LISTENERS_HOOK, LISTENERS_HOOK, OVERFLOW_HOOKS, REJECT_HOOKS, SAMPLER_HOOK,
    SEED_HOOK, TASKS_HOOK,
};
use super::iterator::BpfIterator;
use super::listeners::Listeners;
use super::load::LoadedObject;
use super::probe::Probes;
use super::sampler::Sampler;
use super::scope::Scope;
use super::seed::Seed;
use super::tables::Tables;
use super::tasks::Tasks;
use super::{counting, reasons};
use rstwatch_verdict::reasons::Reasons;

/// Attached iterators, by the name of their hook.
pub(super) type Iterators = BTreeMap<&'static str, BpfIterator>;

/// Programs that are attached until this is dropped. The kernel detaches them when the process ends, however it ends.
pub struct Attached {
    /// Owns programs and links.
    pub programs: Ebpf,
    /// Details of resets.
    pub events: RingBuf<MapData>,
    /// Exact counts.
    pub counters: Counters,
    /// Names of the kernel's reasons.
    pub reasons: Reasons,
    /// What is attached.
    pub probes: Probes,
    /// Idle gaps by destination.
    pub gaps: GapMap,
    /// Gives sockets older than the agent their owners, where that takes longer than the start may.
    pub seed: Option<Seed>,
    /// Finds the gaps that connections survive, once it is started.
    pub sampler: Option<Sampler>,
    /// Queues and tables for periodic scans.
    pub tables: Tables,
}

/// Takes the maps out of the object.
pub(super) fn open(
    mut object: LoadedObject,
    mut iterators: Iterators,
    probes: Probes,
    scope: &Scope,
) -> anyhow::Result<Attached> {
    let reasons = reasons::of_kernel(&object.btf);
    let programs = counting::programs(&object)?;
    let sees = Sees {
        // What a filter would have let through is unknown for resets that no program saw.
        every_namespace: scope.netns.is_empty() && scope.cgroup.is_none(),
        // A reject, and an answer without a socket, belong to no cgroup.
        every_sender: scope.cgroup.is_none()
            && REJECT_HOOKS.into_iter().all(|hook| probes.is_covered(hook))
            && (RESET_REASONS.is_in(&object.btf) || ANSWER_HOOKS.into_iter().all(|hook| probes.is_attached(hook))),
    };
    let counters = Counters::open(&mut object, reasons.clone(), programs, sees)?;
    let sees_overflows = OVERFLOW_HOOKS.into_iter().all(|hook| probes.is_attached(hook));
    let listeners = iterators.remove(LISTENERS_HOOK).or_else(|| iterators.remove(HELD_LISTENERS_HOOK));
    let listeners = listeners.map(|iterator| Listeners::open(&mut object, iterator, sees_overflows)).transpose()?;
    let tasks = iterators.remove(TASKS_HOOK).map(Tasks);
    let seed = iterators.remove(SEED_HOOK).and_then(|iterator| Seed::begin(&iterator));
    let tables = Tables::open(&mut object, listeners, tasks, probes.is_attached(EVICTION_HOOK))?;
    Ok(Attached {
        events: object.take_map("EVENTS")?,
        gaps: GapMap::open(&mut object)?,
        seed,
        sampler: iterators.remove(SAMPLER_HOOK).map(Sampler),
        programs: object.ebpf,
        counters,
        reasons,
        probes,
        tables,
    })
}
