//! `iter/task`: the network namespace of each task. Without the right to trace a task, /proc does not show it.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_task;
use aya_ebpf::helpers::generated::bpf_seq_write;
use rstwatch_common::layout::ABSENT;
use rstwatch_common::record::PF_KTHREAD;
use rstwatch_common::tasks::TaskNetns;

use crate::facts::netns::netns_of_net;
use crate::kernel::{field, offset, read_at, value};

/// `struct bpf_iter__task`, kernel/bpf/task_iter.c; each pointer is aligned to eight bytes.
#[repr(C)]
pub struct Task {
    meta: *const Meta,
    task: *mut c_void,
}

/// The head of `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: *mut c_void,
}

/// `struct upid` of include/linux/pid.h: a number, and a pointer to its namespace.
const UPID_BYTES: u64 = 16;

/// Writes one [`TaskNetns`] for each process, and for each thread in another namespace than its process. The kernel visits
/// the tasks of the reader's pid namespace and below.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn tasks(ctx: *mut Task) -> i32 {
    // SAFETY: the context that the kernel passes.
    let task = unsafe { (*ctx).task } as u64;
    if task == 0 || value!(task, task_flags, u32) & PF_KTHREAD != 0 {
        return 0;
    }
    let netns = netns_of(task);
    let leader = value!(task, task_group_leader, u64);
    if netns == 0 || (leader != task && netns_of(leader) == netns) {
        return 0;
    }
    // SAFETY: no arguments; the task that reads the iterator.
    let level = level_of(unsafe { bpf_get_current_task() });
    let (Some(tgid), Some(tid)) = (pid_at(leader, level), pid_at(task, level)) else { return 0 };
    let written = TaskNetns { netns, tgid, tid };
    // SAFETY: the context's own sequence, and a whole record on the stack.
    unsafe {
        bpf_seq_write((*(*ctx).meta).seq.cast(), core::ptr::from_ref(&written).cast(), size_of::<TaskNetns>() as u32)
    };
    0
}

/// A task's network namespace; 0: it is exiting, and in none.
#[inline(always)]
fn netns_of(task: u64) -> u32 {
    let nsproxy = value!(task, task_nsproxy, u64);
    if nsproxy == 0 {
        return 0;
    }
    netns_of_net(value!(nsproxy, nsproxy_net, u64))
}

/// The depth of a task's pid namespace.
#[inline(always)]
fn level_of(task: u64) -> u32 {
    value!(value!(task, task_thread_pid, u64), pid_level, u32)
}

/// A task's id in its pid namespace at that depth, which is the reader's if the reader sees the task.
#[inline(always)]
fn pid_at(task: u64, level: u32) -> Option<u32> {
    let pid = field!(task, task_thread_pid, u64).filter(|pid| *pid != 0)?;
    let numbers = offset!(pid_numbers);
    if numbers == ABSENT || level > value!(pid, pid_level, u32) {
        return None;
    }
    read_at::<u32>(pid + numbers as u64 + level as u64 * UPID_BYTES).filter(|number| *number != 0)
}
