//! Kernels from Debian's archive.

pub(crate) mod apt;
mod index;
pub(crate) mod kernel;
pub(crate) mod mirror;
