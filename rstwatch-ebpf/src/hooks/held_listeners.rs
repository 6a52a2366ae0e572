//! `iter/task_file`, periodically, if the kernel refuses the iterator over the map of listeners: the accept queues of listeners
//! that a task holds open. A listener may be open any number of times; it is written once in a run.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use rstwatch_common::record::state;

use crate::facts::files::{TaskFile, mptcp_first, tcp_socket};
use crate::kernel::value;
use crate::listeners;

/// The run in which a listener was last written, by the address of its socket. As many as there are listeners.
#[map]
static WRITTEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(listeners::MAX, 0);

/// Runs for each open file of each task while the daemon reads the iterator. Writes one
/// [`Listener`](rstwatch_common::listener::Listener) for each listening socket.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn held_listeners(ctx: *mut TaskFile) -> i32 {
    let subflow = mptcp_first(ctx).map(|(_, subflow)| subflow);
    let Some(sk) = subflow.or_else(|| tcp_socket(ctx).map(|(_, typed)| typed as u64)) else { return 0 };
    if value!(sk, skc_state, u8) != state::LISTEN {
        return 0;
    }
    let Some(element) = listeners::element(sk) else { return 0 };
    // SAFETY: the context that the kernel passes.
    let (seq, run) = unsafe { ((*(*ctx).meta).seq, (*(*ctx).meta).session_id) };
    // SAFETY: an LRU element may be reused at any time; it holds a plain number.
    if unsafe { WRITTEN.get(&sk) }.is_some_and(|written| *written == run) {
        return 0;
    }
    let _ = WRITTEN.insert(&sk, &run, 0);
    listeners::write(element, seq);
    0
}
