//! The head of a record: everything before the blocks that flags announce.

use rstwatch_common::flow::Flow;
use rstwatch_common::record::{MAGIC, ResetRecord, Segment};

use crate::words::{clear, copy};

/// The values that each kind of record must give.
pub struct Head<'a> {
    pub kind: u8,
    /// Kernel's reason; `u32::MAX`: none given.
    pub reason: u32,
    pub time_ns: u64,
    pub sock: u64,
    pub conntrack_full_ns: u64,
    pub netns: u32,
    pub flags: u32,
    pub sk_class: u8,
    pub state: u8,
    pub flow: &'a Flow,
    /// `None`: not seen.
    pub segment: Option<&'a Segment>,
}

impl Head<'_> {
    /// Writes the head into a record. The cgroup is not known and the socket no subflow, unless the caller says so afterwards.
    ///
    /// # Safety
    ///
    /// `record` is aligned and has room for a head at least; nothing else uses it.
    #[inline(always)]
    pub unsafe fn write(&self, record: *mut ResetRecord) {
        // SAFETY: fields of the head, one at a time: a reference to the whole may be longer than its room.
        unsafe {
            (*record).magic = MAGIC;
            (*record).reason = self.reason;
            (*record).time_ns = self.time_ns;
            (*record).sock = self.sock;
            (*record).cgroup = 0;
            (*record).conntrack_full_ns = self.conntrack_full_ns;
            (*record).netns = self.netns;
            (*record).flags = self.flags;
            (*record).kind = self.kind;
            (*record).sk_class = self.sk_class;
            (*record).state = self.state;
            (*record).subflow = 0;
            (*record).reserved = 0;
            copy(&mut (*record).flow, self.flow);
            match self.segment {
                Some(segment) => copy(&mut (*record).segment, segment),
                None => clear(&mut (*record).segment),
            }
        }
    }

    /// The same into a whole record.
    #[inline(always)]
    pub fn write_to(&self, record: &mut ResetRecord) {
        // SAFETY: a whole record.
        unsafe { self.write(record) };
    }
}
