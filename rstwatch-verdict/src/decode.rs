//! Stage 2: bytes from the ring become records. The caller counts and skips bytes that are not a record.

use rstwatch_common::flow::{IPV4, IPV6};
use rstwatch_common::record::{HEAD_BYTES, MAGIC, ResetRecord, flags, kind};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Why a ring entry was skipped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not the length of a record.
    #[error("{0} bytes are not a record")]
    Length(usize),
    /// Another version's record, or garbage.
    #[error("unknown magic {0:#x}")]
    Magic(u32),
    /// A kind that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// Neither IPv4 nor IPv6.
    #[error("unknown address family {0}")]
    Family(u32),
}

/// Reads one ring entry.
///
/// # Errors
///
/// Anything that the programs of this version cannot have written.
pub fn decode(bytes: &[u8]) -> Result<ResetRecord, DecodeError> {
    let mut record = read(bytes).ok_or(DecodeError::Length(bytes.len()))?;
    if record.magic != MAGIC {
        return Err(DecodeError::Magic(record.magic));
    }
    if !matches!(record.kind, kind::SENT | kind::RECEIVED | kind::FIREWALL | kind::REPEATED_RST) {
        return Err(DecodeError::Kind(record.kind));
    }
    if !matches!(record.flow.family, IPV4 | IPV6) {
        return Err(DecodeError::Family(record.flow.family));
    }
    clear_unwritten(&mut record);
    Ok(record)
}

/// A whole record, or a short one, which has no blocks.
fn read(bytes: &[u8]) -> Option<ResetRecord> {
    if bytes.len() != HEAD_BYTES {
        return ResetRecord::read_from_bytes(bytes).ok();
    }
    let mut record = ResetRecord::new_zeroed();
    record.as_mut_bytes()[..HEAD_BYTES].copy_from_slice(bytes);
    let announced = flags::TCP | flags::CONN_STATE | flags::TOMBSTONE | flags::UNTRANSLATED;
    (record.flags & announced == 0).then_some(record)
}

/// Zeroes the blocks that the programs did not write, which contain whatever the ring's memory held before. Clearing
/// them in the kernel would cost about as much as the rest of a record.
fn clear_unwritten(record: &mut ResetRecord) {
    if record.flags & flags::TCP == 0 {
        record.tcp.zero();
    }
    if record.flags & (flags::CONN_STATE | flags::TOMBSTONE) == 0 {
        record.conn.zero();
    }
    let untranslated = record.flags & flags::UNTRANSLATED != 0;
    if record.kind != kind::SENT || (record.flags & flags::SKB != 0 && !untranslated) {
        record.task.zero();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;

    #[test]
    fn reads_what_the_kernel_writes() {
        let record = fixture::record();
        let read = decode(record.as_bytes()).expect("a record");
        assert_eq!(read.as_bytes(), record.as_bytes());
    }

    #[test]
    fn a_short_record_has_no_blocks() {
        let mut record = noise(kind::SENT, flags::SKB);
        let read = decode(&record.as_bytes()[..HEAD_BYTES]).expect("a short record");
        assert_eq!(read.as_bytes(), record.as_bytes());
        record.flags |= flags::TCP;
        assert_eq!(decode(&record.as_bytes()[..HEAD_BYTES]).unwrap_err(), DecodeError::Length(HEAD_BYTES));
    }

    #[test]
    fn rejects_unknown_records() {
        let good = fixture::record();
        let bytes = good.as_bytes();
        assert_eq!(decode(&bytes[1..]).unwrap_err(), DecodeError::Length(bytes.len() - 1));
        assert_eq!(decode(&[]).unwrap_err(), DecodeError::Length(0));
        assert_eq!(decode(ResetRecord { magic: 7, ..good }.as_bytes()).unwrap_err(), DecodeError::Magic(7));
        assert_eq!(decode(ResetRecord { kind: 9, ..good }.as_bytes()).unwrap_err(), DecodeError::Kind(9));
        let mut other = good;
        other.flow.family = 17;
        assert_eq!(decode(other.as_bytes()).unwrap_err(), DecodeError::Family(17));
    }

    /// A record of ones, except for the fields that are checked.
    fn noise(kind: u8, flags: u32) -> ResetRecord {
        let mut record = ResetRecord::read_from_bytes(&[0xff; size_of::<ResetRecord>()]).unwrap();
        (record.magic, record.kind, record.flags, record.flow.family) = (MAGIC, kind, flags, IPV4);
        decode(record.as_bytes()).unwrap()
    }

    #[test]
    fn unwritten_blocks_are_zero() {
        let written = |record: &ResetRecord| {
            [record.tcp.as_bytes(), record.conn.as_bytes(), record.task.as_bytes()].map(|block| {
                let first = block[0];
                assert!(block.iter().all(|byte| *byte == first), "half of a block");
                first != 0
            })
        };
        assert_eq!(written(&noise(kind::SENT, 0)), [false, false, true]);
        assert_eq!(written(&noise(kind::SENT, flags::SKB | flags::TOMBSTONE)), [false, true, false]);
        assert_eq!(written(&noise(kind::SENT, flags::TCP | flags::CONN_STATE)), [true, true, true]);
        assert_eq!(written(&noise(kind::SENT, flags::SKB | flags::UNTRANSLATED)), [false, false, true]);
        assert_eq!(written(&noise(kind::RECEIVED, flags::TCP)), [true, false, false]);
        assert_eq!(written(&noise(kind::FIREWALL, flags::SKB)), [false, false, false]);
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..1024)) {
            let _ = decode(&bytes);
        }

        /// A checked record may still hold any numbers; no later stage may panic on them.
        #[test]
        fn any_numbers_make_an_event(noise in proptest::collection::vec(proptest::num::u8::ANY, size_of::<ResetRecord>())) {
            let mut record = ResetRecord::read_from_bytes(&noise).expect("length");
            record.magic = MAGIC;
            record.kind = 1 + record.kind % 3;
            record.flow.family = if record.flow.family % 2 == 0 { IPV4 } else { IPV6 };
            let record = decode(record.as_bytes()).expect("the checked fields are valid");
            let evidence = crate::evidence::of_record(&record, &fixture::context());
            let verdict = crate::classify::classify(&evidence);
            let _ = crate::assemble::judged(&record, &evidence, verdict, &fixture::context());
        }
    }
}
