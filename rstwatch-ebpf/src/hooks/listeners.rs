//! `iter/bpf_map_elem` over the map of listeners: the accept queues of all network namespaces.

use core::ffi::c_void;

use crate::facts::files::Meta;
use crate::listeners;

/// `struct bpf_iter__bpf_map_elem`, kernel/bpf/map_iter.c; each pointer is aligned to eight bytes.
#[repr(C)]
pub struct MapElement {
    meta: *const Meta,
    map: *const c_void,
    key: *const c_void,
    value: *const c_void,
}

/// Writes one [`Listener`](rstwatch_common::listener::Listener) for each socket that still listens.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub fn listeners(ctx: *mut MapElement) -> i32 {
    // SAFETY: the context that the kernel passes.
    let element = unsafe { (*ctx).value };
    if element.is_null() {
        return 0;
    }
    // SAFETY: the context's own sequence.
    let seq = unsafe { (*(*ctx).meta).seq };
    listeners::write(element as u64, seq);
    0
}
