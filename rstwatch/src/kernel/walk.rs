//! BPF iterators that run again and again. aya's link of one is spent by its first run, so the two system calls are made here.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
/// `enum bpf_attach_type`.
const BPF_TRACE_ITER: u32 = 28;

/// `link_create` of `union bpf_attr`, as far as iterators use it.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    reserved: u32,
}

/// `iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

/// An attached iterator.
#[derive(Debug)]
pub struct Walk(OwnedFd);

impl Walk {
    /// Attaches a loaded iterator; `map`: whose elements it is to walk, for iterators over maps.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn new(program: BorrowedFd<'_>, map: Option<BorrowedFd<'_>>) -> std::io::Result<Self> {
        // `union bpf_iter_link_info` begins with the map's descriptor.
        let info = map.map(fd_number);
        let attr = LinkCreate {
            program: fd_number(program),
            target: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            iter_info: info.as_ref().map_or(0, |map| std::ptr::from_ref(map).expose_provenance() as u64),
            iter_info_len: info.map_or(0, |_| 4),
            reserved: 0,
        };
        bpf(BPF_LINK_CREATE, &attr).map(Self)
    }

    /// Runs once through all; answers what the program wrote.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn run(&self) -> std::io::Result<Vec<u8>> {
        let attr = IterCreate { link: fd_number(self.0.as_fd()), flags: 0 };
        read(&mut File::from(bpf(BPF_ITER_CREATE, &attr)?))
    }
}

/// Reads an iterator to its end. The kernel pauses after a million objects (kernel/bpf/bpf_iter.c, bpf_seq_read) and says
/// EAGAIN: then the next read goes on.
pub(super) fn read(iterator: &mut File) -> std::io::Result<Vec<u8>> {
    let mut written = Vec::new();
    loop {
        match iterator.read_to_end(&mut written) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return other.map(|_| written),
        }
    }
}

fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

/// bpf(2) with a command that answers a descriptor.
fn bpf<T>(command: libc::c_int, attr: &T) -> std::io::Result<OwnedFd> {
    // SAFETY: the attribute lives through the call, and its size is given.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just opened it for us alone.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}
