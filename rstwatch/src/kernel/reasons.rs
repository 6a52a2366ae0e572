//! The running kernel's reset reasons, from its BTF.

use rstwatch_verdict::reasons::Reasons;

use super::btf::Btf;

/// The names that this kernel has; none before Linux 6.10.
pub fn of_kernel(btf: &Btf) -> Reasons {
    Reasons::from_names(&btf.enumerators("sk_rst_reason").unwrap_or_default())
}
