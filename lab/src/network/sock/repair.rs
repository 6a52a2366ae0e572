//! Socket calls that no safe crate offers: TCP_REPAIR, made for checkpointing, which lets a socket vanish without a FIN or RST and
//! reads sequence numbers; connect(AF_UNSPEC); and IPV6_DSTOPTS.

use std::io::{Error, Result};
use std::os::fd::AsRawFd;

use socket2::Socket;

const ON: i32 = 1;
/// Ends the repair mode without the window probe that 0 sends.
const OFF_WITHOUT_PROBE: i32 = -1;
const SEND_QUEUE: i32 = 2;
const AF_UNSPEC: libc::sa_family_t = 0;

/// From now on, closing the socket sends nothing.
pub(crate) fn silence(socket: &Socket) -> Result<()> {
    set(socket, libc::TCP_REPAIR, ON)
}

/// The sequence number that the next byte sent will carry.
pub(super) fn next_sequence(socket: &Socket) -> Result<u32> {
    set(socket, libc::TCP_REPAIR, ON)?;
    let answer = set(socket, libc::TCP_REPAIR_QUEUE, SEND_QUEUE).and_then(|()| get(socket, libc::TCP_QUEUE_SEQ));
    set(socket, libc::TCP_REPAIR, OFF_WITHOUT_PROBE)?;
    answer
}

/// From now on, the socket's packets have a destination options header (RFC 8200 section 4.6) that holds only padding.
pub(crate) fn add_destination_options(socket: &Socket) -> Result<()> {
    set_value(socket, libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &[0_u8, 0, 1, 4, 0, 0, 0, 0])
}

pub(super) fn set(socket: &Socket, option: i32, value: i32) -> Result<()> {
    set_value(socket, libc::IPPROTO_TCP, option, &value)
}

fn set_value<T>(socket: &Socket, level: i32, option: i32, value: &T) -> Result<()> {
    // SAFETY: the pointer and size describe `value`, which outlives the call.
    let code = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), socklen::<T>())
    };
    outcome(code)
}

/// Aborts the connection by connect() with AF_UNSPEC.
pub(super) fn disconnect(socket: &Socket) -> Result<()> {
    let nowhere = libc::sockaddr { sa_family: AF_UNSPEC, sa_data: [0; 14] };
    // SAFETY: the pointer and size describe `nowhere`, which outlives the call.
    let code = unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, socklen::<libc::sockaddr>()) };
    outcome(code)
}

fn get(socket: &Socket, option: i32) -> Result<u32> {
    let mut value: u32 = 0;
    let mut size = socklen::<u32>();
    // SAFETY: both pointers are to locals that outlive the call; the kernel writes at
    // most `size` bytes, the size of `value`.
    let code = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, (&raw mut value).cast(), &raw mut size)
    };
    outcome(code).map(|()| value)
}

fn outcome(code: i32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(4)
}
