//! The sockets behind open files, for `task_file` iterators.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_sock_from_file;
use rstwatch_common::layout::ABSENT;

use crate::kernel::{field, offset};

const IPPROTO_TCP: u16 = 6;
/// include/uapi/linux/in.h.
const IPPROTO_MPTCP: u16 = 262;

/// `struct bpf_iter__task_file`, kernel/bpf/task_iter.c; each pointer is aligned to 8 bytes.
#[repr(C)]
pub struct TaskFile {
    /// Metadata that all iterators have.
    pub meta: *const Meta,
    task: *mut c_void,
    fd: u64,
    file: *mut c_void,
}

/// The first fields of `struct bpf_iter_meta`, include/linux/bpf.h; each is aligned to 8 bytes.
#[repr(C)]
pub struct Meta {
    /// The `seq_file` that the program writes to and the daemon reads.
    pub seq: *mut c_void,
    /// Differs for each run of the iterator.
    pub session_id: u64,
}

/// Returns the task and the TCP socket behind its file, as a BTF pointer. `None` for other
/// files, and at the end of the iteration.
#[inline(always)]
pub fn tcp_socket(ctx: *mut TaskFile) -> Option<(u64, *mut c_void)> {
    socket_of(ctx, IPPROTO_TCP)
}

/// Returns the task and the first subflow of the MPTCP socket behind its file. Of a listener, the first subflow listens.
#[inline(always)]
pub fn mptcp_first(ctx: *mut TaskFile) -> Option<(u64, u64)> {
    let (task, sk) = socket_of(ctx, IPPROTO_MPTCP)?;
    field!(sk as u64, mptcp_first, u64).filter(|first| *first != 0).map(|first| (task, first))
}

#[inline(always)]
fn socket_of(ctx: *mut TaskFile, protocol: u16) -> Option<(u64, *mut c_void)> {
    // SAFETY: the kernel passes a valid context.
    let (task, file) = unsafe { ((*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return None;
    }
    // SAFETY: the verifier knows the pointer's type; the helper returns NULL for files that are not sockets.
    let socket = unsafe { bpf_sock_from_file(file.cast()) };
    if socket.is_null() {
        return None;
    }
    let typed = socket_sk(socket.cast());
    if typed.is_null() || field!(typed as u64, sk_protocol, u16) != Some(protocol) {
        return None;
    }
    Some((task as u64, typed))
}

/// Loads `socket->sk` as a BTF pointer.
#[inline(always)]
fn socket_sk(socket: *mut u8) -> *mut c_void {
    let offset = offset!(socket_sk);
    if offset == ABSENT {
        return core::ptr::null_mut();
    }
    // SAFETY: a BTF pointer plus a constant; the verifier checks that a pointer to a `struct sock` is there.
    unsafe { *socket.add(offset as usize).cast::<*mut c_void>() }
}
