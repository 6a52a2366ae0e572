//! States for the time of a call: a socket without a slot of its own still has its end explained, and its RST's header. One for
//! each CPU and purpose, behind the slots of the table.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use rstwatch_common::record::ConnState;
use rstwatch_common::settings::{SCRATCH_PER_CPU, table_slots};

use crate::conn_state::table;
use crate::kernel::{number_of, setting};
use crate::words::{clear, copy};

/// What a state is used for. One each, because a softirq with another hook may interrupt a hook.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Purpose {
    /// A connection that its owner closes.
    Closed,
    /// A connection that this host aborts.
    Aborted,
    /// The header of an RST, until the socket accepts it.
    Received,
    /// A connection that accepts an RST.
    Accepting,
}

const _: () = assert!(Purpose::Accepting as u32 + 1 == SCRATCH_PER_CPU);

/// An empty state. (Never NULL, but verifiers do not know.)
#[inline(always)]
pub fn empty(purpose: Purpose) -> *mut ConnState {
    let conn = at(purpose);
    // SAFETY: a slot that this CPU uses for this purpose alone.
    if let Some(conn) = unsafe { conn.as_mut() } {
        clear(conn);
    }
    conn
}

/// An empty state for the header of an RST that has come to this socket.
#[inline(always)]
pub fn received_by(sk: *mut c_void) -> *mut ConnState {
    let conn = empty(Purpose::Received);
    if !conn.is_null() {
        // SAFETY: a word of the slot. Written before the header, and compared after it.
        unsafe { table::identity(conn).write_volatile(number_of(sk)) };
    }
    conn
}

/// A state with the header of the RST that this socket is accepting, if this CPU has just seen it; else an empty one.
#[inline(always)]
pub fn take_received(sk: *mut c_void) -> *mut ConnState {
    let (header, conn) = (at(Purpose::Received), empty(Purpose::Accepting));
    // SAFETY: as above.
    if let (Some(header), Some(conn)) = unsafe { (header.as_mut(), conn.as_mut()) } {
        copy(&mut conn.rst, &header.rst);
        // SAFETY: a word of the slot. Read last: a softirq may have brought another socket's header meanwhile.
        if unsafe { table::identity(header).read_volatile() } != number_of(sk) {
            clear(&mut conn.rst);
        } else {
            // It was this RST's. A later socket may have the same address.
            // SAFETY: as above.
            unsafe { table::identity(header).write_volatile(0) };
        }
    }
    conn
}

#[inline(always)]
fn at(purpose: Purpose) -> *mut ConnState {
    // SAFETY: has no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    table::state(table_slots(setting!(connections)) + cpu * SCRATCH_PER_CPU + purpose as u32)
}
