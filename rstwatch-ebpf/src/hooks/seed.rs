//! `iter/task_file`, once: gives sockets older than the agent their owner and, if the kernel shows it, their role.

use aya_ebpf::helpers::generated::bpf_seq_write;
use rstwatch_common::record::{Task, role, state};

use crate::conn_state::{ends, lifecycle, share, slots};
use crate::facts::files::{TaskFile, mptcp_first, tcp_socket};
use crate::facts::socket::family_of;
use crate::facts::task::read_process;
use crate::kernel::{Typed, value};
use crate::listeners::{self, INIT};
use crate::words::clear;

/// Runs once for each open file of each task while the daemon reads the iterator. Writes a byte for each: a read of as many bytes
/// visits as many files.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn seed(ctx: *mut TaskFile) -> i32 {
    // SAFETY: the context that the kernel passes, and its sequence.
    unsafe { bpf_seq_write((*(*ctx).meta).seq.cast(), core::ptr::from_ref(&0u8).cast(), 1) };
    if let Some((task, subflow)) = mptcp_first(ctx) {
        if value!(subflow, skc_state, u8) == state::LISTEN {
            let mut owner = Task::NONE;
            read_process(&mut owner, task);
            listeners::found(subflow, &owner);
        }
        return 0;
    }
    let Some((task, typed)) = tcp_socket(ctx) else { return 0 };
    let sk = typed as u64;
    if family_of(sk) == 0 {
        return 0;
    }
    // A socket that has no connection any more, or none yet: no change of state would free its slot.
    if value!(sk, skc_state, u8) == state::CLOSE {
        return 0;
    }
    let Some(socket) = Typed::new(typed) else { return 0 };
    let found = slots::get_or_create(typed, || share::owner_of(socket));
    // SAFETY: the state of a socket that the file holds.
    let Some(conn) = (unsafe { found.as_mut() }) else {
        slots::count_untracked();
        return 0;
    };
    // A process that activates sockets for others (systemd) holds them too, and is visited first.
    if conn.owner.tgid > INIT {
        return 0;
    }
    read_process(&mut conn.owner, task);
    if value!(sk, skc_state, u8) == state::LISTEN {
        listeners::found(sk, &conn.owner);
        conn.role = role::LISTENER;
    } else {
        lifecycle::met_late(conn, sk);
        ends::keep(sk, socket.number(), conn.role);
    }
    // The socket may have been closed meanwhile: before it got the slot, or after, and then another socket may have the slot now,
    // whose state this overwrote.
    if slots::get(typed) != found {
        clear(conn);
    } else if value!(sk, skc_state, u8) == state::CLOSE {
        slots::remove(typed);
    }
    0
}
