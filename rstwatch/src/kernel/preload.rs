//! Verifies programs in parallel: most of the time that a start takes is the kernel's verifier.

use std::thread;

use aya::programs::{Program, ProgramError};

use super::hook::{self, Hook, When};
use super::hooks::HOOKS;
use super::load::LoadedObject;

/// Loads every tracepoint and iterator that is attached on any kernel, each on a thread of its own.
///
/// Nothing is attached. If the kernel refuses a program, loading it again where it is attached reports the error.
pub(super) fn all(object: &mut LoadedObject) {
    let (btf, aya_btf) = (&object.btf, &object.aya_btf);
    let is_certain =
        |hook: &&Hook| matches!(hook.when, When::Always) && hook.needs.iter().all(|feature| feature.is_in(btf));
    let targets: Vec<_> = HOOKS.iter().filter(is_certain).flat_map(|hook| hook.programs).filter_map(target).collect();
    let programs = object.ebpf.programs_mut().filter_map(|(name, program)| {
        let (_, target) = targets.iter().find(|(known, _)| *known == name)?;
        Some((*target, program))
    });
    thread::scope(|scope| {
        for (target, program) in programs {
            // If no thread can be started, the program is loaded where it is attached.
            _ = thread::Builder::new().spawn_scoped(scope, move || load(program, target, aya_btf));
        }
    });
}

/// A program's name, and the tracepoint or object type that BTF has to know.
fn target(program: &hook::Program) -> Option<(&'static str, &'static str)> {
    match *program {
        hook::Program::Tracepoint(name) => Some((name, name)),
        hook::Program::Iterate { name, over, .. } => Some((name, over)),
        _ => None,
    }
}

/// Loads a program for a tracepoint or an iterator, unless it is loaded already.
pub(super) fn load(program: &mut Program, target: &str, btf: &aya::Btf) -> Result<(), ProgramError> {
    if program.fd().is_ok() {
        return Ok(());
    }
    match program {
        Program::BtfTracePoint(program) => program.load(target, btf),
        Program::Iter(program) => program.load(target, btf),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
