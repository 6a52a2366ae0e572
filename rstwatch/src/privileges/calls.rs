//! System calls that stay possible, by seccomp.
//!
//! It is a list of what is allowed. A list of what is forbidden would be out of date with each new kernel, and whoever took
//! the agent over would choose from the rest; the agent's own needs are few, and known. Not allowed is answered by ENOSYS,
//! for C libraries know how to do without a call that a kernel lacks (clone3 and openat2, whose arguments no filter sees).
//!
//! On top of it a short list ends the process: calls that this program never makes and that an intruder would try. The
//! kernel's audit log then tells of it, and the supervisor sees an end by SIGSYS.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allowed whatever the arguments.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Files and folders that are open, and looking at others.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_write, libc::SYS_writev, libc::SYS_lseek,
    libc::SYS_close, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_getdents64, libc::SYS_readlinkat, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_getcwd,
    libc::SYS_fcntl, libc::SYS_fadvise64, libc::SYS_pipe2,
    libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_eventfd2, libc::SYS_ppoll,
    libc::SYS_futex, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_sched_yield, libc::SYS_restart_syscall,
    // Connections that were accepted, or made.
    libc::SYS_accept4, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_sendto, libc::SYS_sendmsg,
    libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt,
    // Memory and threads.
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_membarrier,
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_getaffinity, libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_exit, libc::SYS_exit_group,
    // Asking.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_getrandom, libc::SYS_getpid,
    libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getrusage, libc::SYS_getcpu,
];

/// The same under names that newer machines never had.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_poll, libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// What an intruder would try: other programs, other processes, other namespaces, the kernel itself.
#[rustfmt::skip]
const FATAL: &[c_long] = &[
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd, libc::SYS_setns, libc::SYS_unshare, libc::SYS_mount, libc::SYS_umount2,
    libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen,
    libc::SYS_fsmount, libc::SYS_open_by_handle_at, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot, libc::SYS_swapon, libc::SYS_keyctl,
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_perf_event_open, libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
];

/// Commands of bpf(2) that are still given (include/uapi/linux/bpf.h): look up, update and delete an element, the next
/// key, what is known of a program, a run of an iterator. A detached program cannot be attached again.
const BPF_COMMANDS: [u64; 6] = [1, 2, 3, 4, 15, 33];
/// Those that load or attach something.
const BPF_FATAL: [u64; 6] = [0, 5, 8, 17, 18, 28];

/// `PERF_EVENT_IOC_DISABLE` (include/uapi/linux/perf_event.h): kprobes are detached by it before Linux 5.15.
const PERF_EVENT_IOC_DISABLE: u64 = 0x2401;
/// `TCGETS`, `TIOCGWINSZ`, `FIONBIO`, `FIOCLEX` (include/uapi/asm-generic/ioctls.h): asking a terminal, and sockets that shall
/// not block. Not: typing into a terminal.
const IOCTLS: [u64; 5] = [0x5401, 0x5413, 0x5421, 0x5451, PERF_EVENT_IOC_DISABLE];

/// `SOCK_TYPE_MASK` (include/linux/net.h).
const SOCK_TYPE_MASK: u64 = 0xf;

/// `PR_SET_VMA` (include/uapi/linux/prctl.h), by which C libraries name their memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Every kind of namespace that clone(2) can make. A thread is not a process.
const CLONE_MASK: i32 = libc::CLONE_VM
    | libc::CLONE_THREAD
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// What opens a file for more than reading.
const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;

/// Restricts this thread, and those that it starts. `connect`: connections are still opened.
pub(super) fn restrict(connect: bool) -> Result<(), String> {
    let filters = [
        (fatal(), SeccompAction::Allow, SeccompAction::KillProcess),
        (allowed(connect), errno(libc::ENOSYS), SeccompAction::Allow),
    ];
    for (rules, otherwise, matching) in filters {
        let program = rules.and_then(|rules| compile(rules, otherwise, matching)).map_err(|error| error.to_string())?;
        apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Whether this kernel filters system calls: it then says which answers it knows.
pub fn available() -> bool {
    std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

fn compile(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> Result<BpfProgram, BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, matching, machine)?.try_into()
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn fatal() -> Result<Rules, BackendError> {
    let mut rules: Rules = FATAL.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_bpf, one_of(0, &BPF_FATAL)?);
    Ok(rules)
}

fn allowed(connect: bool) -> Result<Rules, BackendError> {
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_bpf, one_of(0, &BPF_COMMANDS)?);
    rules.insert(libc::SYS_ioctl, one_of(1, &IOCTLS)?);
    rules.insert(libc::SYS_prctl, one_of(0, &[libc::PR_SET_NAME.unsigned_abs().into(), PR_SET_VMA])?);
    // Nothing that could be run comes into being.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![masked(2, libc::PROT_EXEC, 0)?]);
    }
    rules.insert(libc::SYS_openat, vec![masked(2, WRITING, libc::O_RDONLY)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![masked(1, WRITING, libc::O_RDONLY)?]);
    rules.insert(libc::SYS_clone, vec![masked(0, CLONE_MASK, libc::CLONE_VM | libc::CLONE_THREAD)?]);
    // abort() sends itself a signal.
    rules.insert(libc::SYS_tgkill, one_of(0, &[std::process::id().into()])?);
    rules.insert(libc::SYS_prlimit64, one_of(0, &[0])?);
    // The runtime wakes itself through one. Not of datagrams: those can be sent to any other of the host by its path.
    rules.insert(libc::SYS_socketpair, vec![local_stream()?]);
    if connect {
        let families = [libc::AF_INET, libc::AF_INET6].map(|family| family.unsigned_abs().into());
        rules.insert(libc::SYS_socket, one_of(0, &families)?);
        rules.insert(libc::SYS_connect, Vec::new());
        // Name servers are asked for both kinds of address at once.
        rules.insert(libc::SYS_sendmmsg, Vec::new());
    }
    Ok(rules)
}

/// The first two arguments say `AF_UNIX` and `SOCK_STREAM`, with flags or without.
fn local_stream() -> Result<SeccompRule, BackendError> {
    let family = condition(0, SeccompCmpOp::Eq, libc::AF_UNIX.unsigned_abs().into())?;
    let kind = SeccompCmpOp::MaskedEq(SOCK_TYPE_MASK);
    SeccompRule::new(vec![family, condition(1, kind, libc::SOCK_STREAM.unsigned_abs().into())?])
}

/// The argument is one of these.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule(argument, SeccompCmpOp::Eq, *value)).collect()
}

/// The argument's bits under a mask are these.
fn masked(argument: u8, mask: i32, bits: i32) -> Result<SeccompRule, BackendError> {
    rule(argument, SeccompCmpOp::MaskedEq(mask.unsigned_abs().into()), bits.unsigned_abs().into())
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition(argument, compare, value)?])
}

/// Of all these arguments the kernel looks at no more than 32 bits, as far as these bits go.
fn condition(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
}
