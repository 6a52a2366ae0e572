//! Which programs count resets: what the kernel did not let them see is asked of them by their descriptors.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use aya::Ebpf;

use rstwatch_verdict::cause::Direction;

/// Programs that count, and what.
const COUNTING: [(Direction, &str); 10] = [
    (Direction::Sent, "tcp_send_reset"),
    (Direction::Received, "tcp_receive_reset"),
    (Direction::Sent, "nf_send_reset"),
    (Direction::Sent, "k_nf_reset"),
    (Direction::Sent, "nf_send_reset6"),
    (Direction::Sent, "k_nf_reset6"),
    (Direction::Sent, "tcp_v4_send_reset"),
    (Direction::Sent, "k_v4_send_reset"),
    (Direction::Sent, "tcp_v6_send_reset"),
    (Direction::Sent, "k_v6_send_reset"),
];

/// Descriptors of those that are loaded. `tcp_v4_send_reset` and its like count only what the tracepoint does not show.
pub(super) fn programs(ebpf: &Ebpf, has_reason: bool) -> anyhow::Result<Vec<(Direction, OwnedFd)>> {
    let counts = |name: &str| !(has_reason && (name.contains("v4_send") || name.contains("v6_send")));
    let mut programs = Vec::new();
    for (direction, name) in COUNTING.into_iter().filter(|(_, name)| counts(name)) {
        let program = ebpf.program(name).with_context(|| format!("the eBPF object lacks {name}"))?;
        if let Ok(fd) = program.fd() {
            programs.push((direction, fd.as_fd().try_clone_to_owned()?));
        }
    }
    Ok(programs)
}
