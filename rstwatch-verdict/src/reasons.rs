//! The kernel's reset reasons by number. Numbers differ between kernels, so the running kernel supplies the names.

use std::sync::Arc;

/// The prefix of every name in `enum sk_rst_reason`.
const PREFIX: &str = "SK_RST_REASON_";

/// Names of `enum sk_rst_reason` (include/net/rstreason.h) by number, without their prefix.
#[derive(Clone, Debug, Default)]
pub struct Reasons(Vec<Option<Arc<str>>>);

impl Reasons {
    /// The largest number in the table; bounds its size.
    const MAX: u32 = 255;

    /// A table of the given numbers and names. Names without the prefix are skipped, as is the enum's end marker.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = (u32, N)>) -> Self {
        let mut table = Vec::new();
        for (number, name) in names {
            let Some(short) = name.as_ref().strip_prefix(PREFIX) else { continue };
            if number > Self::MAX || short == "MAX" {
                continue;
            }
            let index = number as usize;
            if table.len() <= index {
                table.resize(index + 1, None);
            }
            table[index] = Some(Arc::from(short));
        }
        Self(table)
    }

    /// The name of a number, without the prefix.
    pub fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.0.get(number as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_reasons_and_skips_the_rest() {
        let table = Reasons::new([
            (1, "SK_RST_REASON_NO_SOCKET"),
            (3, "SK_RST_REASON_TCP_FLAGS"),
            (4, "SK_RST_REASON_MAX"),
            (5, "SKB_DROP_REASON_NO_SOCKET"),
            (u32::MAX, "SK_RST_REASON_ERROR"),
        ]);
        let names: Vec<_> = (0..6).map(|number| table.name(number).map(|name| &**name)).collect();
        assert_eq!(names, [None, Some("NO_SOCKET"), None, Some("TCP_FLAGS"), None, None]);
        assert_eq!(table.name(u32::MAX), None);
    }
}
