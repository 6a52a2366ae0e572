//! The kernel's reset reasons by name. Their numbers differ between kernels, so the names come from the kernel's BTF.

use std::sync::Arc;

const PREFIX: &str = "SK_RST_REASON_";

/// Names of `enum sk_rst_reason` (include/net/rstreason.h) of one kernel; empty before Linux 6.10.
#[derive(Clone, Debug, Default)]
pub struct Reasons(Vec<Option<Arc<str>>>);

impl Reasons {
    /// Larger values are no reasons; bounds the table.
    const MAX: u32 = 255;

    /// From names and values; the prefix goes.
    pub fn from_names(names: &[(String, u32)]) -> Self {
        let mut table = Vec::new();
        for (name, value) in names {
            let Some(short) = name.strip_prefix(PREFIX) else { continue };
            // The kernel's own end marks.
            if *value > Self::MAX || short == "MAX" {
                continue;
            }
            let index = *value as usize;
            if table.len() <= index {
                table.resize(index + 1, None);
            }
            table[index] = Some(Arc::from(short));
        }
        Self(table)
    }

    /// The name of a value, without prefix.
    pub fn name(&self, value: u32) -> Option<&Arc<str>> {
        self.0.get(value as usize)?.as_ref()
    }
}
