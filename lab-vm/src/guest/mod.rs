//! The inside of a VM: its initramfs, its first process, and what that sends to the host.

pub(crate) mod cpio;
pub(crate) mod init;
pub(crate) mod modules;
pub(crate) mod rootfs;
pub(crate) mod transfer;
