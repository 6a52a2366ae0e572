//! BPF iterators that run repeatedly. aya consumes the link with the first run, so the two system calls are made here.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
/// Of `enum bpf_attach_type`.
const BPF_TRACE_ITER: u32 = 28;

/// `link_create` of `union bpf_attr`, up to the last field that iterators use.
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

/// An attached BPF iterator.
#[derive(Debug)]
pub struct BpfIterator(OwnedFd);

impl BpfIterator {
    /// Attaches a loaded iterator program. An iterator over a map's elements needs that `map`.
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

    /// Runs once over all objects and returns what the program wrote.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn run(&self) -> std::io::Result<Vec<u8>> {
        read(&mut self.open()?)
    }

    /// A run, which goes on with each read.
    pub(super) fn open(&self) -> std::io::Result<File> {
        let attr = IterCreate { link: fd_number(self.0.as_fd()), flags: 0 };
        bpf(BPF_ITER_CREATE, &attr).map(File::from)
    }
}

/// Reads an iterator to its end. After a million objects the kernel pauses with EAGAIN, and the next read continues
/// (kernel/bpf/bpf_iter.c, bpf_seq_read).
fn read(iterator: &mut File) -> std::io::Result<Vec<u8>> {
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

/// A bpf(2) command that returns a descriptor.
fn bpf<T>(command: libc::c_int, attr: &T) -> std::io::Result<OwnedFd> {
    // SAFETY: the attribute outlives the call, and its size is passed.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just opened this descriptor for us; no one else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}
