//! Restricts system calls by seccomp.
//!
//! The filter lists what is allowed. A list of what is forbidden would be outdated by each new kernel, and leave an intruder
//! the rest; the agent itself needs few calls, and they are known. All others fail with ENOSYS, because C libraries cope
//! with kernels that lack a call (clone3 and openat2, whose arguments a filter cannot read).
//!
//! In addition, a short list of calls ends the process: this program never makes them, and an intruder would try them. The
//! kernel's audit log then has an entry, and the supervisor sees that SIGSYS ended the process.

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
    // Open files and folders, and the attributes of others.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_write, libc::SYS_writev, libc::SYS_lseek,
    libc::SYS_close, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_getdents64, libc::SYS_readlinkat, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_getcwd,
    libc::SYS_fcntl, libc::SYS_fadvise64, libc::SYS_pipe2,
    libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_eventfd2, libc::SYS_ppoll,
    libc::SYS_futex, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_sched_yield, libc::SYS_restart_syscall,
    // Connections that were accepted or opened.
    libc::SYS_accept4, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_sendto, libc::SYS_sendmsg,
    libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt,
    // Memory and threads.
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_membarrier,
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_getaffinity, libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_exit, libc::SYS_exit_group,
    // Queries.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_getrandom, libc::SYS_getpid,
    libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getrusage, libc::SYS_getcpu,
];

/// The same calls, under older names that newer architectures never had.
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

/// Commands of bpf(2) that stay allowed (include/uapi/linux/bpf.h): look up, update and delete an element, get the next
/// key, get a program's info, run an iterator. A detached program cannot be attached again.
const BPF_COMMANDS: [u64; 6] = [1, 2, 3, 4, 15, 33];
/// Commands that load or attach something.
const BPF_FATAL: [u64; 6] = [0, 5, 8, 17, 18, 28];

/// `PERF_EVENT_IOC_DISABLE` (include/uapi/linux/perf_event.h): detaches kprobes before Linux 5.15.
const PERF_EVENT_IOC_DISABLE: u64 = 0x2401;
/// `TCGETS`, `TIOCGWINSZ`, `FIONBIO`, `FIOCLEX` (include/uapi/asm-generic/ioctls.h): querying a terminal, and making sockets
/// nonblocking. `TIOCSTI`, which types into a terminal, is not among them.
const IOCTLS: [u64; 5] = [0x5401, 0x5413, 0x5421, 0x5451, PERF_EVENT_IOC_DISABLE];

/// `SOCK_TYPE_MASK` (include/linux/net.h).
const SOCK_TYPE_MASK: u64 = 0xf;

/// `PR_SET_VMA` (include/uapi/linux/prctl.h), with which C libraries name their memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// A new thread has the first two flags, and none of those that create namespaces.
const CLONE_MASK: i32 = libc::CLONE_VM
    | libc::CLONE_THREAD
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// Flags that open a file for more than reading.
const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;

/// Restricts this thread and those that it starts. `connect`: connections may still be opened.
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

/// Whether this kernel filters system calls: it then lists the actions that it knows.
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
    // No memory becomes executable.
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
    // The runtime wakes itself through a pair of streams. Datagrams could be sent to any socket of the host by its path.
    rules.insert(libc::SYS_socketpair, vec![local_stream()?]);
    if connect {
        let families = [libc::AF_INET, libc::AF_INET6].map(|family| family.unsigned_abs().into());
        rules.insert(libc::SYS_socket, one_of(0, &families)?);
        rules.insert(libc::SYS_connect, Vec::new());
        // The resolver asks for IPv4 and IPv6 addresses in one call.
        rules.insert(libc::SYS_sendmmsg, Vec::new());
    }
    Ok(rules)
}

/// The first two arguments are `AF_UNIX` and `SOCK_STREAM`, with or without flags.
fn local_stream() -> Result<SeccompRule, BackendError> {
    let family = condition(0, SeccompCmpOp::Eq, libc::AF_UNIX.unsigned_abs().into())?;
    let kind = SeccompCmpOp::MaskedEq(SOCK_TYPE_MASK);
    SeccompRule::new(vec![family, condition(1, kind, libc::SOCK_STREAM.unsigned_abs().into())?])
}

/// The argument is one of these.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule(argument, SeccompCmpOp::Eq, *value)).collect()
}

/// The argument's bits under the mask are these.
fn masked(argument: u8, mask: i32, bits: i32) -> Result<SeccompRule, BackendError> {
    rule(argument, SeccompCmpOp::MaskedEq(mask.unsigned_abs().into()), bits.unsigned_abs().into())
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition(argument, compare, value)?])
}

/// Of these arguments the kernel reads only 32 bits.
fn condition(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
}
