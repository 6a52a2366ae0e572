//! The types that the eBPF programs and the daemon share.
//!
//! Both sides compile this crate, so a change here changes the wire: rebuild the object with `cargo xtask ebpf`.
#![no_std]

/// Declares a wire struct, which the daemon can read from bytes.
macro_rules! wire {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        #[cfg_attr(feature = "user", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable))]
        #[repr(C)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)+ }
    };
}

pub mod counts;
pub mod flow;
pub mod gap;
pub mod layout;
pub mod listener;
pub mod record;
pub mod settings;
pub mod tasks;
