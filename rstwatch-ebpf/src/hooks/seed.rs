//! `iter/task_file`: gives sockets that are older than the agent their owner and, where the kernel shows it, role.

use aya_ebpf::helpers::generated::bpf_sock_from_file;
use core::ffi::c_void;
use rstwatch_common::record::{Task, role, state};

use crate::facts::{flow_of, kept_ttl};
use crate::kernel::{field, value};
use crate::maps::SOCKETS;

const IPPROTO_TCP: u16 = 6;

/// `struct bpf_iter__task_file`, kernel/bpf/task_iter.c; each pointer is aligned to eight bytes.
#[repr(C)]
pub struct TaskFile {
    meta: u64,
    task: *mut c_void,
    fd: u64,
    file: *mut c_void,
}

/// Runs once for each open file of each task, while the daemon reads the iterator.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub fn seed(ctx: *mut TaskFile) -> i32 {
    // SAFETY: the context that the kernel passes.
    let (task, file) = unsafe { ((*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: typed by the verifier; answers NULL for what is no socket.
    let socket = unsafe { bpf_sock_from_file(file.cast()) };
    if socket.is_null() {
        return 0;
    }
    let typed = socket_sk(socket.cast());
    if typed.is_null() {
        return 0;
    }
    let sk = typed as u64;
    let family = flow_of(sk).family;
    if family == 0 || field!(sk, sk_protocol, u16) != Some(IPPROTO_TCP) {
        return 0;
    }
    // SAFETY: storage of a socket that the file holds.
    let Some(kept) = (unsafe { SOCKETS.get_or_create(typed).as_mut() }) else { return 0 };
    if kept.owner.tgid != 0 {
        return 0;
    }
    fill_owner(&mut kept.owner, task as u64);
    let ttl = kept_ttl(sk, family);
    kept.role = match field!(sk, skc_state, u8) {
        Some(state::LISTEN) => role::LISTENER,
        _ if ttl != 0 => role::SERVER,
        _ => role::CLIENT,
    };
    kept.ttl = ttl;
    0
}

/// `socket->sk` by a typed load, as the storage helper wants it.
#[inline(always)]
fn socket_sk(socket: *mut u8) -> *mut c_void {
    let offset = crate::kernel::offset!(socket_sk);
    if offset == rstwatch_common::layout::ABSENT {
        return core::ptr::null_mut();
    }
    // SAFETY: a typed pointer plus a constant; the verifier checks that a pointer to a sock stands there.
    unsafe { *socket.add(offset as usize).cast::<*mut c_void>() }
}

#[inline(always)]
fn fill_owner(owner: &mut Task, task: u64) {
    owner.tgid = value!(task, task_tgid, u32);
    let leader = field!(task, task_group_leader, u64).unwrap_or(task);
    owner.start_ns = value!(leader, task_start_time, u64);
    owner.flags = value!(task, task_flags, u32);
    owner.comm = value!(leader, task_comm, [u8; 16]);
}
