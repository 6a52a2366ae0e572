//! A minimal BTF parser: offsets of members, values of enums, parameters of functions.
//!
//! Format: Documentation/bpf/btf.rst in the kernel's tree. The bytes are not trusted: damage leads to an error or to `None`.

use std::ops::Range;

/// The file with the kernel's own BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
/// How many layers of anonymous types, typedefs and qualifiers are followed to a member.
const MAX_DEPTH: usize = 16;
/// How many members are searched for one name: a structure that contains itself has no end.
const MAX_MEMBERS: usize = 4096;
/// How long a name may be (KSYM_NAME_LEN, include/linux/kallsyms.h).
const MAX_NAME: usize = 512;

/// `BTF_KIND_*` of include/uapi/linux/btf.h.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Why BTF could not be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or in the other byte order.
    #[error("no BTF magic")]
    Magic,
    /// A header, type or string reaches past the end.
    #[error("truncated at byte {0}")]
    Truncated(usize),
    /// A kind that this parser does not know. It cannot find the next type after it.
    #[error("unknown kind {0}")]
    Kind(u32),
}

/// A parsed BTF section.
pub struct Btf {
    data: Vec<u8>,
    strings: Range<usize>,
    /// Byte offset of each type; type 0 is void and has none.
    types: Vec<usize>,
}

struct Type {
    name: u32,
    kind: u32,
    vlen: usize,
    /// Members have a bit size in addition to their bit offset.
    bitfields: bool,
    /// Size, or the type referred to.
    value: u32,
    /// Offset of the data that are specific to the kind.
    tail: usize,
}

impl Btf {
    /// Parses a BTF section.
    ///
    /// # Errors
    ///
    /// The bytes are not BTF in this machine's byte order, end early, or contain a kind that is newer than this parser.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at| read_u32(&data, at).ok_or(BtfError::Truncated(at));
        let magic = data.get(..2).ok_or(BtfError::Truncated(0))?;
        if u16::from_ne_bytes([magic[0], magic[1]]) != MAGIC {
            return Err(BtfError::Magic);
        }
        let header = word(4)? as usize;
        let types = section(header, word(8)?, word(12)?, data.len())?;
        let strings = section(header, word(16)?, word(20)?, data.len())?;
        let mut btf = Self { data, strings, types: vec![0] };
        btf.index(types)?;
        Ok(btf)
    }

    /// The section itself.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    fn index(&mut self, section: Range<usize>) -> Result<(), BtfError> {
        let mut at = section.start;
        while at < section.end {
            let found = self.type_at(at).ok_or(BtfError::Truncated(at))?;
            let next = found.tail + tail_bytes(&found)?;
            if next > section.end {
                return Err(BtfError::Truncated(at));
            }
            self.types.push(at);
            at = next;
        }
        Ok(())
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = read_u32(&self.data, at + 4)?;
        Some(Type {
            name: read_u32(&self.data, at)?,
            kind: (info >> 24) & 0x1f,
            vlen: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            value: read_u32(&self.data, at + 8)?,
            tail: at + TYPE_BYTES,
        })
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        self.types.get(id as usize).filter(|at| **at != 0).and_then(|at| self.type_at(*at))
    }

    /// The bytes of a string, which ends at a NUL.
    fn string(&self, offset: u32) -> Option<&[u8]> {
        let start = self.strings.start.checked_add(offset as usize)?;
        let rest = self.data.get(start..self.strings.end)?;
        let end = rest.iter().take(MAX_NAME).position(|byte| *byte == 0)?;
        Some(&rest[..end])
    }

    fn find(&self, kind: u32, name: &str) -> Option<Type> {
        self.types
            .iter()
            .skip(1)
            .filter_map(|at| self.type_at(*at))
            .find(|found| found.kind == kind && self.is_named(found.name, name))
    }

    /// Whether the string there is this one. A search compares every type's name, so this reads no more than necessary.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        let rest = self.strings.start.checked_add(offset as usize).and_then(|at| self.data.get(at..self.strings.end));
        rest.and_then(|rest| rest.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Byte offset of a member, as in `("net", "ns.inum")`. Members of an anonymous part belong to its parent.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut holder = self.find(kind::STRUCT, structure)?;
        let mut bits = 0u32;
        let mut steps = path.split('.').peekable();
        while let Some(step) = steps.next() {
            let mut left = MAX_MEMBERS;
            let (offset, member) = self.member(&holder, step, 0, &mut left)?;
            bits = bits.checked_add(offset)?;
            if steps.peek().is_some() {
                holder = self.resolved(member)?;
            }
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Bit offset and type of a member. Anonymous members are searched, too, until `left` is used up.
    fn member(&self, holder: &Type, name: &str, depth: usize, left: &mut usize) -> Option<(u32, u32)> {
        if depth > MAX_DEPTH || !matches!(holder.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..holder.vlen {
            *left = left.checked_sub(1)?;
            let at = holder.tail + index * 12;
            let member_name = self.string(read_u32(&self.data, at)?)?;
            let member_type = read_u32(&self.data, at + 4)?;
            let offset = read_u32(&self.data, at + 8)?;
            let offset = if holder.bitfields { offset & 0x00ff_ffff } else { offset };
            if member_name == name.as_bytes() {
                return Some((offset, member_type));
            }
            let inside = if member_name.is_empty() {
                self.resolved(member_type).and_then(|inner| self.member(&inner, name, depth + 1, left))
            } else {
                None
            };
            if let Some((inner, found)) = inside {
                return Some((offset.checked_add(inner)?, found));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn resolved(&self, id: u32) -> Option<Type> {
        let mut found = self.by_id(id)?;
        for _ in 0..MAX_DEPTH {
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    found = self.by_id(found.value)?;
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Names and values of an enum (of 32 bits).
    pub fn enumerators(&self, name: &str) -> Option<Vec<(String, u32)>> {
        let found = self.find(kind::ENUM, name)?;
        (0..found.vlen)
            .map(|index| {
                let at = found.tail + index * 8;
                let name = String::from_utf8_lossy(self.string(read_u32(&self.data, at)?)?).into_owned();
                Some((name, read_u32(&self.data, at + 4)?))
            })
            .collect()
    }

    /// How many parameters a function of the kernel has; `None` if it is absent (inlined, or in a module).
    pub fn function_parameters(&self, name: &str) -> Option<usize> {
        let function = self.find(kind::FUNC, name)?;
        self.by_id(function.value).filter(|proto| proto.kind == kind::FUNC_PROTO).map(|proto| proto.vlen)
    }

    /// How many arguments a tracepoint passes; `None` if this kernel does not have it.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let typedef = self.find(kind::TYPEDEF, &format!("btf_trace_{name}"))?;
        let pointer = self.by_id(typedef.value).filter(|found| found.kind == kind::PTR)?;
        let proto = self.by_id(pointer.value).filter(|found| found.kind == kind::FUNC_PROTO)?;
        // The first parameter is the hook's private pointer.
        proto.vlen.checked_sub(1)
    }
}

fn section(header: usize, offset: u32, len: u32, total: usize) -> Result<Range<usize>, BtfError> {
    let start = header.saturating_add(offset as usize);
    let end = start.saturating_add(len as usize);
    if end > total { Err(BtfError::Truncated(total)) } else { Ok(start..end) }
}

/// Bytes after the common part of a type.
fn tail_bytes(found: &Type) -> Result<usize, BtfError> {
    Ok(match found.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => found.vlen * 12,
        kind::ENUM | kind::FUNC_PROTO => found.vlen * 8,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        unknown => return Err(BtfError::Kind(unknown)),
    })
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests;
