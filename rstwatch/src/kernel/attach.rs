//! Attaches every hook that this kernel allows, in the order of the table.
//!
//! A hook that the kernel refuses costs a named piece of evidence, never the whole agent. Only the hooks of
//! [`Stage::Count`] are required.

use anyhow::bail;

use super::assess::{self, Outcome};
use super::attached::Attached;
use super::hook::{Hook, Stage, When};
use super::hooks::{HOOKS, TASKS_HOOK};
use super::load::LoadedObject;
use super::probe::{Probe, Probes, Status};
use super::scope::Scope;
use super::settings::{Limits, host_netns};
use super::tasks::{self, Tasks};
use super::{attached, features, layout, preload, program};

/// Loads and attaches everything that this kernel allows.
///
/// # Errors
///
/// No BTF, no privileges, or a required hook that cannot be attached.
pub fn attach(scope: &Scope, limits: &Limits) -> anyhow::Result<Attached> {
    let attacher = Attacher::run(scope, limits)?;
    let probes = attacher.probes();
    if let Some(probe) = probes.missing().next() {
        let (name, why) = (probe.name, probe.detail());
        bail!("cannot attach {name}: {why}: run rstwatch check to see what this host allows");
    }
    let Attacher { object, iterators, .. } = attacher;
    attached::open(object, iterators, probes, scope)
}

/// Attaches everything, detaches it again, and returns the probes with what else this kernel lacks.
pub fn dry_run(scope: &Scope, limits: &Limits) -> (Probes, Vec<String>) {
    match Attacher::run(scope, limits) {
        Ok(attacher) => (attacher.probes(), attacher.notes()),
        Err(error) => {
            let status = Status::Missing { why: format!("{error:#}") };
            let object = Probe { name: "object", required: true, status, evidence: "everything" };
            (Probes(vec![object]), Vec::new())
        }
    }
}

/// Attaches hook by hook, and keeps the kernel's answers.
struct Attacher {
    object: LoadedObject,
    outcomes: Vec<Outcome>,
    iterators: attached::Iterators,
}

impl Attacher {
    fn run(scope: &Scope, limits: &Limits) -> anyhow::Result<Self> {
        let object = LoadedObject::load(scope, limits)?;
        let mut attacher = Self { object, outcomes: Vec::new(), iterators: attached::Iterators::new() };
        preload::all(&mut attacher.object);
        attacher.stage(Stage::Context);
        attacher.tell_host_netns()?;
        attacher.stage(Stage::Evidence);
        attacher.tell_inferred()?;
        attacher.load(Stage::Count);
        attacher.stage(Stage::Count);
        attacher.stage(Stage::Complete);
        Ok(attacher)
    }

    /// Attaches the hooks of a stage.
    fn stage(&mut self, stage: Stage) {
        for hook in HOOKS.iter().filter(|hook| hook.stage == stage) {
            if self.is_due(hook) {
                let answer = self.attach(hook);
                self.outcomes.push(Outcome { hook, answer });
            }
        }
    }

    /// Loads the tracepoints of a stage before the first is attached. Otherwise, while the kernel verified the second, resets
    /// would be counted in one direction only. An error is reported when the hook is attached.
    fn load(&mut self, stage: Stage) {
        for hook in HOOKS.iter().filter(|hook| hook.stage == stage) {
            _ = program::load_tracepoint(&mut self.object, hook.name);
        }
    }

    fn is_due(&self, hook: &Hook) -> bool {
        match hook.when {
            When::Always => true,
            When::With(name) => self.is_attached(name),
            When::WithoutAnyOf(names) => !names.iter().all(|name| self.is_attached(name)),
        }
    }

    fn is_attached(&self, name: &str) -> bool {
        self.outcomes.iter().any(|outcome| outcome.hook.name == name && outcome.answer.is_ok())
    }

    /// Attaches the first of a hook's programs that the kernel accepts.
    fn attach(&mut self, hook: &'static Hook) -> Result<(), String> {
        if let Some(absent) = hook.needs.iter().find(|feature| !feature.is_in(&self.object.btf)) {
            return Err(absent.absent.to_owned());
        }
        let mut refusals = Vec::new();
        for one in hook.programs {
            match program::attach(&mut self.object, hook.name, *one) {
                Ok(iterator) => {
                    self.iterators.extend(iterator.map(|iterator| (hook.name, iterator)));
                    return Ok(());
                }
                Err(refusal) => refusals.push((one.kind(), refusal)),
            }
        }
        Err(joined(refusals))
    }

    /// Tells the programs the network namespace of the host.
    fn tell_host_netns(&mut self) -> anyhow::Result<()> {
        let tasks = self.iterators.remove(TASKS_HOOK).map(Tasks);
        let found = tasks.as_ref().and_then(|tasks| tasks.scan().ok()).unwrap_or_default();
        self.iterators.extend(tasks.map(|Tasks(iterator)| (TASKS_HOOK, iterator)));
        self.object.set::<u32>("HOST_NETNS", tasks::first(&found).or_else(host_netns).unwrap_or(0))
    }

    /// Tells `kfree_skb` what it has to infer because a hook was refused.
    fn tell_inferred(&mut self) -> anyhow::Result<()> {
        let refused = self.outcomes.iter().filter(|outcome| outcome.answer.is_err());
        let bits = refused.filter_map(|outcome| outcome.hook.fallback.as_ref()).map(|fallback| fallback.infer);
        match bits.fold(0, |all, bit| all | bit) {
            0 => Ok(()),
            all => self.object.set::<u64>("INFER", all),
        }
    }

    fn probes(&self) -> Probes {
        assess::probes(&self.outcomes, |feature| feature.is_in(&self.object.btf))
    }

    /// What this kernel lacks besides hooks.
    fn notes(&self) -> Vec<String> {
        let btf = &self.object.btf;
        let reasons = &features::RESET_REASONS;
        let absent = (!reasons.is_in(btf))
            .then(|| format!("{}: they are inferred from socket and segment, and never certain", reasons.absent));
        let missing = layout::missing(btf);
        let fields = (!missing.is_empty()).then(|| format!("fields that this kernel lacks: {}", missing.join(", ")));
        absent.into_iter().chain(fields).collect()
    }
}

/// Several refusals in one line, each after its program's kind.
fn joined(refusals: Vec<(&str, String)>) -> String {
    if let [(_, only)] = &refusals[..] {
        return only.clone();
    }
    let each: Vec<_> = refusals.into_iter().map(|(kind, refusal)| format!("{kind}: {refusal}")).collect();
    each.join("; ")
}
