//! `iter/task_file`, periodically, if the kernel refuses the iterator over the map of listeners: the accept queues of listeners
//! that a task holds open. A listener that several tasks hold is written several times.

use rstwatch_common::record::state;

use crate::facts::files::{TaskFile, mptcp_first, tcp_socket};
use crate::kernel::value;
use crate::listeners;

/// Runs for each open file of each task while the daemon reads the iterator. Writes one
/// [`Listener`](rstwatch_common::listener::Listener) for each file of a listening socket.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn held_listeners(ctx: *mut TaskFile) -> i32 {
    let subflow = mptcp_first(ctx).map(|(_, subflow)| subflow);
    let Some(sk) = subflow.or_else(|| tcp_socket(ctx).map(|(_, typed)| typed as u64)) else { return 0 };
    if value!(sk, skc_state, u8) == state::LISTEN
        && let Some(element) = listeners::element(sk)
    {
        // SAFETY: the context that the kernel passes.
        let seq = unsafe { (*(*ctx).meta).seq };
        listeners::write(element, seq);
    }
    0
}
