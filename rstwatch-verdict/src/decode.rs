//! Stage 2: bytes of the ring become records. Whatever does not look like one is counted and skipped.

use rstwatch_common::flow::{IPV4, IPV6};
use rstwatch_common::record::{MAGIC, ResetRecord, flags, kind};
use zerocopy::{FromBytes, FromZeros};

/// Why a ring entry was skipped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not as long as a record.
    #[error("{0} bytes are no record")]
    Length(usize),
    /// Another version's record, or garbage.
    #[error("magic {0:#x} is not ours")]
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
    let mut record = ResetRecord::read_from_bytes(bytes).map_err(|_| DecodeError::Length(bytes.len()))?;
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

/// Makes zeros of the blocks that the programs did not write: there is whatever the ring's memory held before. To clear them
/// in the kernel would cost as much there as much of the rest.
fn clear_unwritten(record: &mut ResetRecord) {
    if record.flags & flags::TCP == 0 {
        record.tcp.zero();
    }
    if record.flags & (flags::CONN_STATE | flags::TOMBSTONE) == 0 {
        record.conn.zero();
    }
    if record.kind != kind::SENT || record.flags & flags::SKB != 0 {
        record.task.zero();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;
    use zerocopy::IntoBytes;

    #[test]
    fn reads_what_the_kernel_writes() {
        let record = fixture::record();
        let read = decode(record.as_bytes()).expect("a record");
        assert_eq!(read.as_bytes(), record.as_bytes());
    }

    #[test]
    fn skips_what_it_does_not_know() {
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

    /// A record of nothing but ones, but for what is checked.
    fn noise(kind: u8, flags: u32) -> ResetRecord {
        let mut record = ResetRecord::read_from_bytes(&[0xff; size_of::<ResetRecord>()]).unwrap();
        (record.magic, record.kind, record.flags, record.flow.family) = (MAGIC, kind, flags, IPV4);
        decode(record.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_not_written_is_nothing() {
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
        assert_eq!(written(&noise(kind::RECEIVED, flags::TCP)), [true, false, false]);
        assert_eq!(written(&noise(kind::FIREWALL, flags::SKB)), [false, false, false]);
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..1024)) {
            let _ = decode(&bytes);
        }

        /// What passes the checks above may still hold any number; no later stage may panic on it.
        #[test]
        fn any_numbers_make_an_event(noise in proptest::collection::vec(proptest::num::u8::ANY, size_of::<ResetRecord>())) {
            let mut record = ResetRecord::read_from_bytes(&noise).expect("length");
            record.magic = MAGIC;
            record.kind = 1 + record.kind % 3;
            record.flow.family = if record.flow.family % 2 == 0 { IPV4 } else { IPV6 };
            let record = decode(record.as_bytes()).expect("checked fields are in order");
            let evidence = crate::evidence::of_record(&record, &fixture::context());
            let verdict = crate::classify::classify(&evidence);
            let _ = crate::assemble::judged(&record, &evidence, verdict, &fixture::context());
        }
    }
}
