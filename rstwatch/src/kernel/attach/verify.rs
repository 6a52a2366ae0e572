//! Verifying programs side by side: most of an agent's start is the kernel walking through them.

use std::thread;

use aya::programs::{Program, ProgramError};

use super::{Loader, constants};

/// What agents load, whatever hooks a kernel allows, and what each is for: a tracepoint, or what an iterator walks.
const TOGETHER: [(&str, &str); 6] = [
    ("tcp_send_reset", "tcp_send_reset"),
    ("inet_sock_set_state", "inet_sock_set_state"),
    ("tcp_receive_reset", "tcp_receive_reset"),
    ("seed", "task_file"),
    ("sample", "task_file"),
    ("listeners", "bpf_map_elem"),
];

impl Loader {
    /// Loads them, each on a thread of its own. Nothing is attached. One that the kernel refuses is offered again where it is
    /// wanted, and there the answer is told.
    pub(super) fn verify(&mut self) {
        let (btf, storage) = (&self.aya_btf, constants::has_socket_storage(&self.btf));
        let programs = self.ebpf.programs_mut();
        let wanted = programs.filter_map(|(name, program)| {
            let (_, target) = TOGETHER.iter().find(|(wanted, _)| *wanted == name)?;
            (name != "sample" || storage).then_some((*target, program))
        });
        thread::scope(|scope| {
            for (target, program) in wanted {
                // Without a thread it is loaded where it is wanted.
                _ = thread::Builder::new().spawn_scoped(scope, move || load(program, target, btf));
            }
        });
    }
}

/// Loads a program for a tracepoint or a walk, unless it is loaded.
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
