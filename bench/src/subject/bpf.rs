//! bpf(2), for commands that no library offers.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Runs a command that returns a descriptor. `attribute`: the first fields of the command's member of `union bpf_attr`
/// (include/uapi/linux/bpf.h); the kernel takes the others as zero.
pub(crate) fn bpf<T>(command: libc::c_int, attribute: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes, and what they point to outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attribute), size_of::<T>()) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just created this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
