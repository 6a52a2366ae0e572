//! Parses bytes as a kernel's BTF: any input gives a result or an error, in bounded time and memory.

use rstwatch::kernel::btf::Btf;
use rstwatch::kernel::{layout, reasons};

/// Functions, tracepoints and enums to look up, as the daemon does.
const FUNCTIONS: [&str; 3] = ["tcp_reset", "nf_send_reset", "tcp_finish_connect"];
const TRACEPOINTS: [&str; 4] = ["tcp_send_reset", "tcp_receive_reset", "inet_sock_set_state", "kfree_skb"];
const ENUMS: [&str; 2] = ["sk_rst_reason", "skb_drop_reason"];

/// Maximum bytes of names in a result, for each byte of input.
const NAME_BYTES: usize = 64;

/// The body of the target. Returns whether the input was BTF.
pub fn run(input: &[u8]) -> bool {
    let Ok(btf) = Btf::parse(input.to_vec()) else { return false };
    let _ = layout::resolve(&btf);
    let missing = layout::missing(&btf);
    assert!(missing.len() <= rstwatch_common::layout::Layout::SOURCES.len());
    for name in FUNCTIONS {
        let _ = btf.function_parameters(name);
    }
    for name in TRACEPOINTS {
        let _ = btf.tracepoint_arguments(name);
    }
    for name in ENUMS {
        let names = btf.enumerators(name).unwrap_or_default();
        let bytes: usize = names.iter().map(|(name, _)| name.len()).sum();
        assert!(bytes <= NAME_BYTES * input.len(), "{bytes} bytes of names out of {}", input.len());
    }
    let _ = reasons::of_kernel(&btf);
    true
}
