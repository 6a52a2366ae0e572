//! Removes DWARF from an eBPF object and keeps BTF.
//!
//! The linker derives BTF from debug information, so debug information cannot be switched off. Doing here what
//! `llvm-objcopy --strip-debug` does avoids a dependency on LLVM's tools.

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// Returns the object without its `.debug_*` sections and their relocations.
pub(crate) fn debug(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("cannot read the linker's object")?;
    for section in &mut elf.sections {
        section.delete = is_debug(section.name.as_slice());
    }
    elf.delete_orphans();
    separate_section_names(&mut elf);
    let mut stripped = Vec::new();
    elf.write(&mut stripped).context("cannot write the stripped object")?;
    Ok(stripped)
}

/// Adds a table for the names of sections: LLVM shares one with the symbols, but `object` requires two.
fn separate_section_names(elf: &mut Builder<'_>) {
    let holds_section_names = |data: &SectionData<'_>| matches!(data, SectionData::SectionString);
    if !elf.sections.iter().any(|section| holds_section_names(&section.data)) {
        let names = elf.sections.add();
        names.name = b".shstrtab".as_slice().into();
        names.sh_type = SHT_STRTAB;
        names.data = SectionData::SectionString;
    }
}

fn is_debug(name: &[u8]) -> bool {
    name.starts_with(b".debug_") || name.starts_with(b".rel.debug_")
}

#[cfg(test)]
mod tests {
    use super::is_debug;

    #[test]
    fn btf_is_not_debug() {
        for (name, debug) in [
            (".debug_info", true),
            (".rel.debug_line", true),
            (".BTF", false),
            (".BTF.ext", false),
            (".rel.BTF.ext", false),
            ("tp_btf/tcp_send_reset", false),
        ] {
            assert_eq!(is_debug(name.as_bytes()), debug, "{name}");
        }
    }
}
