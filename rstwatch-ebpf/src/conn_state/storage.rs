//! Socket storage: a connection's state kept by the kernel with the socket itself.

use core::ffi::c_void;
use core::ptr::{self, null_mut};

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use rstwatch_common::record::ConnState;

use crate::kernel::setting;

/// A map definition of BPF_MAP_TYPE_SK_STORAGE, in the shape that loaders read from BTF.
#[repr(C)]
struct SocketStorage {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const ConnState,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the pointers are placeholders for BTF; nothing reads them.
unsafe impl Sync for SocketStorage {}

/// States of the connections that have no slot ([`crate::conn_state::slots`]).
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SOCKET_STORAGE")]
static SOCKET_STORAGE: SocketStorage = SocketStorage {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

/// A socket's storage, or NULL. `sk` must be typed by the verifier.
#[inline(always)]
pub fn get(sk: *mut c_void) -> *mut ConnState {
    with_flags(sk, 0)
}

/// The same, created if there is none; NULL only without memory, for mini-sockets, or before Linux 5.11.
#[inline(always)]
pub fn get_or_create(sk: *mut c_void) -> *mut ConnState {
    with_flags(sk, BPF_SK_STORAGE_GET_F_CREATE.into())
}

#[inline(always)]
fn with_flags(sk: *mut c_void, flags: u64) -> *mut ConnState {
    if setting!(sk_storage) == 0 {
        return null_mut();
    }
    let map = ptr::from_ref(&SOCKET_STORAGE).cast_mut().cast();
    // SAFETY: the helper accepts NULL and mini-sockets and returns NULL; the verifier has typed `sk`.
    unsafe { bpf_sk_storage_get(map, sk, null_mut(), flags) }.cast()
}
