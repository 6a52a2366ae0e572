//! `iter/bpf_map_elem` over the map of listeners: the accept queues of all network namespaces.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_seq_write;
use rstwatch_common::listener::Listener;
use rstwatch_common::record::state;

use crate::facts::netns::netns_of_sock;
use crate::kernel::{read_into, value};
use crate::listeners::refresh;

/// `struct bpf_iter__bpf_map_elem`, kernel/bpf/map_iter.c; each pointer is aligned to eight bytes.
#[repr(C)]
pub struct MapElement {
    meta: *const Meta,
    map: *const c_void,
    key: *const c_void,
    value: *const c_void,
}

/// The head of `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: *mut c_void,
}

/// Writes one [`Listener`] for each socket that still listens. It does not write into the map: an element may be reused for
/// another listener during the visit.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub fn listeners(ctx: *mut MapElement) -> i32 {
    // SAFETY: the context that the kernel passes.
    let element = unsafe { (*ctx).value };
    if element.is_null() {
        return 0;
    }
    let mut copy = MaybeUninit::<Listener>::zeroed();
    // SAFETY: all zeros are a valid value.
    let listener = unsafe { copy.assume_init_mut() };
    if !read_into(element as u64, listener) || value!(listener.sock, skc_state, u8) != state::LISTEN {
        return 0;
    }
    if netns_of_sock(listener.sock) != listener.netns {
        return 0;
    }
    refresh(listener);
    // SAFETY: the context's own sequence, and a whole listener on the stack.
    unsafe {
        bpf_seq_write((*(*ctx).meta).seq.cast(), core::ptr::from_ref(listener).cast(), size_of::<Listener>() as u32)
    };
    0
}
