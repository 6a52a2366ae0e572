//! Resolves the offsets that the eBPF programs use from the running kernel's BTF.
//!
//! `rstwatch-common/src/layout.rs` lists the fields; `rstwatch-ebpf/src/kernel.rs` uses the offsets.

use rstwatch_common::layout::{ABSENT, Layout, OPTIONAL};

use super::btf::Btf;

/// The layout of this kernel; fields that it lacks are [`ABSENT`].
pub fn resolve(btf: &Btf) -> Layout {
    Layout::resolved(|source| {
        btf.offset(source.structure, source.path).and_then(|offset| u16::try_from(offset).ok()).filter(|o| *o != ABSENT)
    })
}

/// `struct.member` of each field that this kernel lacks and should have.
pub fn missing(btf: &Btf) -> Vec<String> {
    Layout::SOURCES
        .iter()
        .filter(|source| !OPTIONAL.contains(&source.field))
        .filter(|source| btf.offset(source.structure, source.path).is_none())
        .map(|source| format!("{}.{}", source.structure, source.path))
        .collect()
}
