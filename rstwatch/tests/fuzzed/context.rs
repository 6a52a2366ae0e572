//! The context in which the captured records were recorded.

use std::sync::Arc;
use std::time::Duration;

use rstwatch_verdict::evidence::Context;
use rstwatch_verdict::reasons::Reasons;

/// `enum sk_rst_reason` of Linux 6.18, from BTF, in the order of its values.
pub const REASONS: &[&str] = &[
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "TCP_INVALID_ACK_SEQUENCE",
    "TCP_RFC7323_PAWS",
    "TCP_TOO_OLD_ACK",
    "TCP_ACK_UNSENT_DATA",
    "TCP_FLAGS",
    "TCP_OLD_ACK",
    "TCP_ABORT_ON_DATA",
    "TCP_TIMEWAIT_SOCKET",
    "INVALID_SYN",
    "TCP_ABORT_ON_CLOSE",
    "TCP_ABORT_ON_LINGER",
    "TCP_ABORT_ON_MEMORY",
    "TCP_STATE",
    "TCP_KEEPALIVE_TIMEOUT",
    "TCP_DISCONNECT_WITH_DATA",
];

/// The context of the kernel on which they were captured.
pub fn context() -> Context {
    let names = (0..).zip(REASONS.iter().map(|name| format!("SK_RST_REASON_{name}")));
    Context {
        reasons: Reasons::new(names),
        jiffy: Duration::from_millis(4),
        wall_offset_ns: 0,
        node: Arc::from("captured"),
    }
}
