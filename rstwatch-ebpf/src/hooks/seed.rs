//! `iter/task_file`, once: gives sockets older than the agent their owner and, if the kernel shows it, their role.

use rstwatch_common::record::{Task, role, state};

use crate::conn_state::{ends, share, slots};
use crate::facts::files::{TaskFile, mptcp_first, tcp_socket};
use crate::facts::socket::{flow_of, kept_ttl};
use crate::facts::task::read_process;
use crate::kernel::{Typed, field, value};
use crate::listeners::{self, INIT};
use crate::words::clear;

/// Runs once for each open file of each task while the daemon reads the iterator.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn seed(ctx: *mut TaskFile) -> i32 {
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
    let family = flow_of(sk).family;
    if family == 0 {
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
    let ttl = kept_ttl(sk, family);
    conn.role = match field!(sk, skc_state, u8) {
        Some(state::LISTEN) => {
            listeners::found(sk, &conn.owner);
            role::LISTENER
        }
        _ if ttl != 0 => role::SERVER,
        _ => role::CLIENT,
    };
    conn.ttl = ttl;
    if conn.role != role::LISTENER {
        ends::keep(sk, socket.number(), conn.role);
    }
    // The socket may have been closed meanwhile, and another may have its slot now: this overwrote that one's state.
    if slots::get(typed) != found {
        clear(conn);
    }
    0
}
