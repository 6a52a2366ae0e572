//! The programs that count resets. Their descriptors tell how often the kernel did not run them.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;

use super::hook::{Counts, Hook};
use super::hooks::HOOKS;
use super::load::LoadedObject;
use rstwatch_verdict::cause::Direction;

/// Descriptors of the loaded programs that count on this kernel, with the direction of the resets that they count.
pub(super) fn programs(object: &LoadedObject) -> anyhow::Result<Vec<(Direction, OwnedFd)>> {
    let direction = |hook: &Hook| match hook.counts {
        Counts::All(direction) => Some(direction),
        Counts::Without(feature, direction) => (!feature.is_in(&object.btf)).then_some(direction),
        Counts::None => None,
    };
    let counting = HOOKS.iter().filter_map(|hook| Some((hook, direction(hook)?)));
    let each = counting.flat_map(|(hook, direction)| hook.programs.iter().map(move |one| (direction, one.name())));
    let mut programs = Vec::new();
    for (direction, name) in each {
        let program = object.ebpf.program(name).with_context(|| format!("the eBPF object has no program {name}"))?;
        if let Ok(fd) = program.fd() {
            programs.push((direction, fd.as_fd().try_clone_to_owned()?));
        }
    }
    Ok(programs)
}
