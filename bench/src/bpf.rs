//! bpf(2), for what no library does.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Calls it for a command that answers with a descriptor. `attribute`: the head of what the command takes (`union bpf_attr` of
/// include/uapi/linux/bpf.h); the kernel takes the rest for zeros.
pub(crate) fn bpf<T>(command: libc::c_int, attribute: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes as it is told, and what they point at lives as long as the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attribute), size_of::<T>()) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
