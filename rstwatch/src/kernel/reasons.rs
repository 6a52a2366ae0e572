//! The reset reasons of the running kernel, from its BTF.

use super::btf::Btf;
use rstwatch_verdict::reasons::Reasons;

/// The reasons that this kernel knows; none before Linux 6.10.
pub fn of_kernel(btf: &Btf) -> Reasons {
    let enumerators = btf.enumerators("sk_rst_reason").unwrap_or_default();
    Reasons::new(enumerators.into_iter().map(|(name, number)| (number, name)))
}
