//! BPF programs that do nothing, attached to tracepoints where rstwatch has its own and, on request, to received packets. They
//! show the cost of being called, which no program can avoid.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::process::Command;
use std::{env, io, process, thread};

use anyhow::{Context as _, Result};
use dev_support::cgroups;

use super::bpf::bpf;

/// The environment variable that makes this process hold such programs. With the value [`PACKETS`], one of them sees packets.
const REQUEST: &str = "XTASK_BENCH_FLOOR";
const PACKETS: &str = "packets";

/// Tracepoints of a connection's states and resets.
const TRACEPOINTS: [&std::ffi::CStr; 3] = [c"inet_sock_set_state", c"tcp_send_reset", c"tcp_receive_reset"];

// include/uapi/linux/bpf.h: enum bpf_cmd, enum bpf_prog_type.
const PROG_LOAD: libc::c_int = 5;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const LINK_CREATE: libc::c_int = 28;
const CGROUP_SKB: u32 = 8;
const RAW_TRACEPOINT: u32 = 17;

/// A process that holds the programs. `packets`: also one that sees each packet that a socket receives.
pub(crate) fn command(packets: bool) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("this program")?);
    command.env(REQUEST, if packets { PACKETS } else { "" });
    Ok(command)
}

/// Holds the programs forever if the environment requests it, else returns. `main` calls it first.
pub(crate) fn hold_if_requested() {
    let Some(request) = env::var_os(REQUEST) else { return };
    match attach(request == PACKETS) {
        Ok(_held) => loop {
            thread::park();
        },
        Err(error) => eprintln!("error: {error:#}"),
    }
    process::exit(1);
}

/// Attaches the programs; they stay attached as long as the returned descriptors are open.
fn attach(packets: bool) -> Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    for name in TRACEPOINTS {
        let program = load(RAW_TRACEPOINT, 0)?;
        held.push(open(name, program.as_raw_fd()).with_context(|| format!("{}", name.to_string_lossy()))?);
    }
    if packets {
        let root = cgroups::root().context("no mount shows the root of cgroup v2")?;
        let root = File::open(root)?;
        // Returning 1 lets the packet pass.
        let program = load(CGROUP_SKB, 1)?;
        held.push(link(program.as_raw_fd(), root.as_raw_fd()).context("the cgroup")?);
    }
    Ok(held)
}

/// Loads a program that only returns this value.
fn load(kind: u32, value: i32) -> Result<OwnedFd> {
    /// The head of the command's attribute.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: *const Instruction,
        license: *const libc::c_char,
    }
    /// `struct bpf_insn`.
    #[repr(C)]
    struct Instruction {
        code: u8,
        registers: u8,
        offset: i16,
        immediate: i32,
    }
    let instruction = |code, immediate| Instruction { code, registers: 0, offset: 0, immediate };
    // BPF_ALU64 | BPF_MOV | BPF_K into r0, then BPF_JMP | BPF_EXIT.
    let program = [instruction(0xb7, value), instruction(0x95, 0)];
    let attribute = Load { kind, count: 2, instructions: program.as_ptr(), license: c"GPL".as_ptr() };
    bpf(PROG_LOAD, &attribute).context("cannot load a program")
}

fn open(name: &std::ffi::CStr, program: RawFd) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Open {
        name: *const libc::c_char,
        program: RawFd,
        reserved: u32,
    }
    bpf(RAW_TRACEPOINT_OPEN, &Open { name: name.as_ptr(), program, reserved: 0 })
}

fn link(program: RawFd, target: RawFd) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Link {
        program: RawFd,
        target: RawFd,
        kind: u32,
        flags: u32,
    }
    // Kind 0 is BPF_CGROUP_INET_INGRESS.
    bpf(LINK_CREATE, &Link { program, target, kind: 0, flags: 0 })
}
