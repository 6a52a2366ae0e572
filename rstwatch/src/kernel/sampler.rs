//! Looks at every connection from time to time, by an iterator over the files of all tasks.
//!
//! aya's link of an iterator is spent by its first run, so the two system calls are made here.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::clock::thread_time;

/// Commands of bpf(2) (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
/// `enum bpf_attach_type`.
const BPF_TRACE_ITER: u32 = 28;

/// The probe's name.
pub const PROBE: &str = "task_file_looks";
/// Between two looks; the precision of survived gaps.
const INTERVAL: Duration = Duration::from_secs(1);
/// A look may take this part of a CPU's time: 1 %. It takes about a microsecond for each open file.
const SHARE: u32 = 100;

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

/// The attached iterator.
#[derive(Debug)]
pub struct Sampler(OwnedFd);

impl Sampler {
    /// Attaches a loaded iterator.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn new(program: BorrowedFd<'_>) -> std::io::Result<Self> {
        let attr = LinkCreate {
            program: fd_number(program),
            target: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            // Of all tasks.
            iter_info: 0,
            iter_info_len: 0,
            reserved: 0,
        };
        bpf(BPF_LINK_CREATE, &attr).map(Self)
    }

    /// Looks once.
    fn look(&self) -> std::io::Result<()> {
        let attr = IterCreate { link: fd_number(std::os::fd::AsFd::as_fd(&self.0)), flags: 0 };
        let mut iterator = File::from(bpf(BPF_ITER_CREATE, &attr)?);
        // The program prints nothing; the read drives it through all sockets.
        drive(&mut iterator)
    }

    /// Looks every second, or less often where a look takes long, until the guard is dropped.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(self) -> std::io::Result<Sampling> {
        let (stop, stopped) = channel::<()>();
        std::thread::Builder::new().name("sampler".into()).spawn(move || {
            let mut pause = INTERVAL;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let began = thread_time();
                if let Err(error) = self.look() {
                    tracing::warn!("survived idle gaps are no longer measured: {error}");
                    return;
                }
                pause = INTERVAL.max(thread_time().saturating_sub(began) * SHARE);
            }
        })?;
        Ok(Sampling { _stop: stop })
    }
}

/// Ends the looking when dropped.
#[derive(Debug)]
pub struct Sampling {
    _stop: Sender<()>,
}

/// Reads an iterator to its end. The kernel pauses after a million objects (kernel/bpf/bpf_iter.c, bpf_seq_read) and says
/// EAGAIN: then the next read goes on.
pub(super) fn drive(iterator: &mut File) -> std::io::Result<()> {
    loop {
        match iterator.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return other.map(drop),
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
