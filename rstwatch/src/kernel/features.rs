//! Features that kernels differ in. BTF decides, never the version: distributions backport.

use super::btf::Btf;

/// Something that this kernel may lack.
#[derive(Debug)]
pub struct Feature {
    /// The Linux release that introduced it.
    pub since: &'static str,
    /// What to report if it is absent.
    pub absent: &'static str,
    is_in: fn(&Btf) -> bool,
}

impl Feature {
    /// Whether the kernel with this BTF has it.
    pub fn is_in(&self, btf: &Btf) -> bool {
        (self.is_in)(btf)
    }
}

/// The tracepoint `tcp_send_reset` passes a reason, and fires for every sender.
pub const RESET_REASONS: Feature = Feature {
    since: "6.10",
    absent: "this kernel gives no reasons for resets",
    is_in: |btf| btf.tracepoint_arguments("tcp_send_reset").is_some_and(|arguments| arguments >= 3),
};

/// `tcp_reset()` passes the packet.
pub const PACKET_OF_RESET: Feature = Feature {
    since: "5.11",
    absent: "this kernel's tcp_reset() does not pass the packet",
    is_in: |btf| btf.function_parameters("tcp_reset") == Some(2),
};

/// Iterators find the socket behind a file, and programs get the running task as a typed pointer.
pub const TYPED_HELPERS: Feature = Feature {
    since: "5.11",
    absent: "this kernel's iterators cannot find the socket behind a file",
    is_in: |btf| btf.function_parameters("bpf_sock_from_file").is_some(),
};

/// The tracepoint `kfree_skb` passes a reason, and netfilter has one of its own.
pub const DROP_REASONS: Feature = Feature {
    since: "5.17",
    absent: "this kernel gives no drop reasons",
    is_in: |btf| {
        btf.tracepoint_arguments("kfree_skb").is_some_and(|arguments| arguments >= 3)
            && drop_reason(btf, "NETFILTER_DROP").is_some()
    },
};

/// A segment that is dropped at a full accept queue has a drop reason of its own.
pub const OVERFLOW_DROP_REASON: Feature = Feature {
    since: "6.15",
    absent: "this kernel has no drop reason for a full accept queue",
    is_in: |btf| drop_reason(btf, "TCP_LISTEN_OVERFLOW").is_some(),
};

/// `SKB_DROP_REASON_*` of this kernel.
pub(super) fn drop_reason(btf: &Btf, name: &str) -> Option<u32> {
    enumerator(btf, "skb_drop_reason", &format!("SKB_DROP_REASON_{name}"))
}

/// The value of an enumerator of this kernel.
pub(super) fn enumerator(btf: &Btf, enumeration: &str, enumerator: &str) -> Option<u32> {
    btf.enumerators(enumeration)?.into_iter().find(|(name, _)| name == enumerator).map(|(_, value)| value)
}
