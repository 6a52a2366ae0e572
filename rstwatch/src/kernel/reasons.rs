//! The kernel's reset reasons by name. Their numbers differ between kernels, so they come from BTF.

use std::sync::Arc;

use super::btf::Btf;

const PREFIX: &str = "SK_RST_REASON_";

/// Names of `enum sk_rst_reason` (include/net/rstreason.h) of this kernel.
#[derive(Clone, Debug, Default)]
pub struct Reasons(Vec<Option<Arc<str>>>);

impl Reasons {
    /// Larger values are no reasons; bounds the table.
    const MAX: u32 = 255;

    /// The names that this kernel has; none before Linux 6.10.
    pub fn of_kernel(btf: &Btf) -> Self {
        Self::from_names(&btf.enumerators("sk_rst_reason").unwrap_or_default())
    }

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
