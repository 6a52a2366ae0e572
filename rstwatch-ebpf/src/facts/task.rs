//! The process behind a task.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_task, bpf_get_current_task_btf};
use rstwatch_common::record::{PF_KTHREAD, Task};

use crate::kernel::{Base, Typed, field, offset, setting, value};

/// Reads the running task, with its exit code if it is exiting.
#[inline(always)]
pub fn read_current(task: &mut Task) {
    read_current_unless(task, 0);
}

/// The same; a kernel thread, which works on behalf of others, leaves `task` as it is.
#[inline(always)]
pub fn read_current_process(task: &mut Task) {
    read_current_unless(task, PF_KTHREAD);
}

/// The id of the running process.
#[inline(always)]
pub fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Does nothing if the running task has one of the flags `unless`.
#[inline(never)]
fn read_current_unless(task: &mut Task, unless: u32) {
    if setting!(typed_task) == 0 {
        // SAFETY: takes no argument.
        read_running(task, unsafe { bpf_get_current_task() } as u64, unless);
    // SAFETY: takes no argument.
    } else if let Some(running) = Typed::new(unsafe { bpf_get_current_task_btf() } as *mut _) {
        read_running(task, running, unless);
    }
}

#[inline(always)]
fn read_running(task: &mut Task, running: impl Base, unless: u32) {
    let flags = value!(running, task_flags, u32);
    if flags & unless != 0 {
        return;
    }
    task.tgid = current_tgid();
    // The process's start and name, not the thread's.
    let leader = running.follow(offset!(task_group_leader)).unwrap_or(running);
    task.start_ns = value!(leader, task_start_time, u64);
    task.flags = flags;
    task.exit_code = value!(running, task_exit_code, u32);
    task.comm = value!(leader, task_comm, [u8; 16]);
    task.reserved = 0;
    // SAFETY: takes no argument.
    task.cgroup = unsafe { bpf_get_current_cgroup_id() };
}

/// Reads the process of a task that an iterator visits.
#[inline(always)]
pub fn read_process(process: &mut Task, task: u64) {
    process.tgid = value!(task, task_tgid, u32);
    let leader = field!(task, task_group_leader, u64).unwrap_or(task);
    process.start_ns = value!(leader, task_start_time, u64);
    process.flags = value!(task, task_flags, u32);
    process.comm = value!(leader, task_comm, [u8; 16]);
}
