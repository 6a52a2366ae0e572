//! Replays records that were captured on a real kernel (6.18, `cargo run --example record`). Needs no root.
//!
//! Capture them again after a change of the wire format: files of another format have another magic number and are refused.

use expect_test::expect;
use rstwatch_common::record::{ResetRecord, flags};
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::stages::Stages;

#[path = "fuzzed/context.rs"]
pub mod context;

const CAPTURED: &[u8] = include_bytes!("records/loopback-6.18.bin");

/// Passes records through all stages. Returns one line for each event.
fn replay(bytes: &[u8]) -> String {
    let mut stages = Stages::new(context::context());
    let mut phantoms = 0;
    for chunk in bytes.chunks(size_of::<ResetRecord>()) {
        let record = decode(chunk).expect("a record of this wire format");
        phantoms += u64::from(record.flags & flags::PHANTOM != 0);
        stages.record(&record, &|| phantoms);
    }
    stages.flush(&|| phantoms);
    let mut lines = String::new();
    while let Some(event) = stages.pop().map(|judged| judged.event) {
        let state = event.state.unwrap_or("-");
        let reason = event.kernel_reason.as_deref().unwrap_or("-");
        let family = if event.local.is_ipv4() { "v4" } else { "v6" };
        lines += &format!(
            "{family} {} {} {} {} {state} {reason}\n",
            event.direction, event.cause, event.sender, event.confidence
        );
    }
    lines
}

#[test]
fn captured_records_keep_their_verdicts() {
    expect![[r#"
        v4 sent refused local_kernel certain - NO_SOCKET
        v4 received refused peer certain SYN_SENT -
        v4 sent linger_abort local_app certain ESTABLISHED TCP_STATE
        v4 received linger_abort peer certain ESTABLISHED -
        v4 sent unread_data local_app certain ESTABLISHED TCP_ABORT_ON_CLOSE
        v4 received unread_data peer certain ESTABLISHED -
        v4 sent listener_closed local_app certain ESTABLISHED TCP_STATE
        v4 received listener_closed peer certain ESTABLISHED -
        v4 sent idle_reaped local_kernel likely FIN_WAIT2 TCP_TIMEWAIT_SOCKET
        v4 received idle_reaped peer likely CLOSE_WAIT -
        v4 sent data_after_close local_kernel certain FIN_WAIT2 TCP_TIMEWAIT_SOCKET
        v4 received data_after_close peer certain CLOSE_WAIT -
        v4 sent process_died local_kernel certain FIN_WAIT2 TCP_TIMEWAIT_SOCKET
        v4 received process_died peer certain CLOSE_WAIT -
        v4 sent data_after_close local_kernel certain FIN_WAIT2 TCP_ABORT_ON_DATA
        v4 received data_after_close peer certain CLOSE_WAIT -
        v6 sent unread_data local_app certain ESTABLISHED TCP_ABORT_ON_CLOSE
        v6 received unread_data peer certain ESTABLISHED -
        v4 sent unread_data local_app certain ESTABLISHED TCP_ABORT_ON_CLOSE
        v4 received unread_data peer certain ESTABLISHED -
    "#]]
    .assert_eq(&replay(CAPTURED));
}
