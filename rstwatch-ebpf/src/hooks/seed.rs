//! `iter/task_file`, once: gives sockets that are older than the agent their owner and, where the kernel shows it, role.

use rstwatch_common::record::{Task, role, state};

use crate::facts::{flow_of, kept_ttl};
use crate::files::{TaskFile, mptcp_first, tcp_socket};
use crate::kernel::{clear, field, value};
use crate::listeners::{self, INIT};
use crate::memory::NO_TASK;
use crate::sockets;

/// Runs once for each open file of each task, while the daemon reads the iterator.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn seed(ctx: *mut TaskFile) -> i32 {
    if let Some((task, subflow)) = mptcp_first(ctx) {
        if value!(subflow, skc_state, u8) == state::LISTEN {
            let mut owner = NO_TASK;
            fill_owner(&mut owner, task);
            listeners::found(subflow, &owner);
        }
        return 0;
    }
    let Some((task, typed)) = tcp_socket(ctx) else { return 0 };
    let sk = typed as u64;
    let family = flow_of(sk).family;
    if family == 0 {
        return 0;
    }
    let place = sockets::get_or_create(typed);
    // SAFETY: kept of a socket that the file holds.
    let Some(kept) = (unsafe { place.as_mut() }) else { return 0 };
    // Who activates sockets for others holds them too, and comes first.
    if kept.owner.tgid > INIT {
        return 0;
    }
    fill_owner(&mut kept.owner, task);
    let ttl = kept_ttl(sk, family);
    kept.role = match field!(sk, skc_state, u8) {
        Some(state::LISTEN) => {
            listeners::found(sk, &kept.owner);
            role::LISTENER
        }
        _ if ttl != 0 => role::SERVER,
        _ => role::CLIENT,
    };
    kept.ttl = ttl;
    // It may have been closed meanwhile, and another socket may have got its place: that one's memory is not known any more.
    if sockets::get(typed) != place {
        clear(kept);
    }
    0
}

#[inline(always)]
fn fill_owner(owner: &mut Task, task: u64) {
    owner.tgid = value!(task, task_tgid, u32);
    let leader = field!(task, task_group_leader, u64).unwrap_or(task);
    owner.start_ns = value!(leader, task_start_time, u64);
    owner.flags = value!(task, task_flags, u32);
    owner.comm = value!(leader, task_comm, [u8; 16]);
}
