//! Counters that the kernel keeps for each network namespace (/proc/net/netstat and /proc/net/snmp).

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use crate::capacity::CapacitySnapshot;
use crate::metric::{Family, Writer, encode_undeclared_counter};

/// Declares a counter by its name, what it counts, and its source in the kernel.
macro_rules! counter {
    ($name:literal, $what:literal, $source:literal) => {
        Family::counter(
            $name,
            concat!($what, " (", $source, "), summed over readable network namespaces since the agent started."),
            kernel_counter,
        )
    };
}

/// Counters of known kernels, by name.
pub const COUNTERS: &[Family<CapacitySnapshot>] = &[
    counter!(
        "tcp_attempt_fails",
        "Connections that ended in SYN_SENT or SYN_RECV, before they were established",
        "Tcp AttemptFails, TCP_MIB_ATTEMPTFAILS in tcp_done(), net/ipv4/tcp.c, and tcp_check_req(), net/ipv4/tcp_minisocks.c"
    ),
    counter!(
        "tcp_estab_resets",
        "Connections that went from ESTABLISHED or CLOSE_WAIT straight to CLOSE, by a reset in either direction, an abort or a timeout",
        "Tcp EstabResets, TCP_MIB_ESTABRESETS in tcp_set_state(), net/ipv4/tcp.c"
    ),
    counter!(
        "tcp_ext_listen_drops",
        "Packets that listening sockets dropped for any reason, a full accept queue included",
        "TcpExt ListenDrops, LINUX_MIB_LISTENDROPS in tcp_listendrop(), include/net/tcp.h"
    ),
    counter!(
        "tcp_ext_listen_overflows",
        "Connections dropped because the accept queue was full",
        "TcpExt ListenOverflows, LINUX_MIB_LISTENOVERFLOWS in net/ipv4/tcp_input.c, tcp_ipv4.c and net/ipv6/tcp_ipv6.c"
    ),
    counter!(
        "tcp_ext_syncookies_failed",
        "Invalid SYN cookies received",
        "TcpExt SyncookiesFailed, LINUX_MIB_SYNCOOKIESFAILED in net/ipv4/syncookies.c and net/ipv6/syncookies.c"
    ),
    counter!(
        "tcp_ext_syncookies_recv",
        "Valid SYN cookies received",
        "TcpExt SyncookiesRecv, LINUX_MIB_SYNCOOKIESRECV in net/ipv4/syncookies.c and net/ipv6/syncookies.c"
    ),
    counter!(
        "tcp_ext_syncookies_sent",
        "SYN cookies sent",
        "TcpExt SyncookiesSent, LINUX_MIB_SYNCOOKIESSENT in cookie_init_sequence(), include/net/tcp.h"
    ),
    counter!(
        "tcp_ext_tcp_abort_failed",
        "Resets that the stack could not send, for lack of memory or because transmission failed",
        "TcpExt TCPAbortFailed, LINUX_MIB_TCPABORTFAILED in tcp_send_active_reset(), net/ipv4/tcp_output.c"
    ),
    counter!(
        "tcp_ext_tcp_abort_on_close",
        "Connections reset because the process closed them with unread data",
        "TcpExt TCPAbortOnClose, LINUX_MIB_TCPABORTONCLOSE in __tcp_close(), net/ipv4/tcp.c"
    ),
    counter!(
        "tcp_ext_tcp_abort_on_data",
        "Connections reset because data arrived after close() or shutdown(), or because the process closed them with SO_LINGER 0",
        "TcpExt TCPAbortOnData, LINUX_MIB_TCPABORTONDATA in tcp_rcv_state_process(), net/ipv4/tcp_input.c, and __tcp_close(), net/ipv4/tcp.c"
    ),
    counter!(
        "tcp_ext_tcp_abort_on_linger",
        "Connections reset when closed in FIN_WAIT2 with a negative TCP_LINGER2",
        "TcpExt TCPAbortOnLinger, LINUX_MIB_TCPABORTONLINGER in __tcp_close(), net/ipv4/tcp.c"
    ),
    counter!(
        "tcp_ext_tcp_abort_on_memory",
        "Connections aborted because there were too many orphaned sockets or TCP was out of memory",
        "TcpExt TCPAbortOnMemory, LINUX_MIB_TCPABORTONMEMORY in __tcp_close(), net/ipv4/tcp.c, and tcp_out_of_resources(), net/ipv4/tcp_timer.c"
    ),
    counter!(
        "tcp_ext_tcp_abort_on_timeout",
        "Connections aborted because retransmissions, window probes or keepalive probes stayed unanswered",
        "TcpExt TCPAbortOnTimeout, LINUX_MIB_TCPABORTONTIMEOUT in tcp_write_err(), net/ipv4/tcp_timer.c"
    ),
    counter!(
        "tcp_ext_tcp_req_q_full_do_cookies",
        "SYNs answered with a SYN cookie because the SYN queue was full, or because net.ipv4.tcp_syncookies is 2",
        "TcpExt TCPReqQFullDoCookies, LINUX_MIB_TCPREQQFULLDOCOOKIES in tcp_syn_flood_action(), net/ipv4/tcp_input.c"
    ),
    counter!(
        "tcp_ext_tcp_req_q_full_drop",
        "SYNs dropped because the SYN queue was full and SYN cookies were disabled",
        "TcpExt TCPReqQFullDrop, LINUX_MIB_TCPREQQFULLDROP in tcp_syn_flood_action(), net/ipv4/tcp_input.c"
    ),
    counter!(
        "tcp_out_rsts",
        "TCP segments sent with the RST flag, by the stack and not by netfilter",
        "Tcp OutRsts, TCP_MIB_OUTRSTS in net/ipv4/tcp_ipv4.c, net/ipv6/tcp_ipv6.c and tcp_send_active_reset(), net/ipv4/tcp_output.c"
    ),
];

fn kernel_counter(snapshot: &CapacitySnapshot, out: Writer<'_, '_>) -> fmt::Result {
    let count = snapshot.counters.get(out.name()).copied();
    out.count(count)
}

/// Writes the counters that a newer kernel has besides [`COUNTERS`].
pub fn encode_undeclared(snapshot: &CapacitySnapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, count) in &snapshot.counters {
        if COUNTERS.iter().any(|family| family.description().name == name) {
            continue;
        }
        let help = format!(
            "The kernel's counter {name} (/proc/net/netstat or /proc/net/snmp), which this version of the agent does not describe, summed over readable network namespaces since the agent started."
        );
        encode_undeclared_counter(name, &help, *count, encoder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::capacity::procfs::Reading;

    #[test]
    fn every_counter_of_a_present_kernel_is_declared() {
        let net = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capacity/fixture/proc/1/net");
        let read = Reading::of(&net).expect("the fixture").counters;
        let declared: Vec<_> = COUNTERS.iter().map(|family| family.description().name).collect();
        assert_eq!(read.keys().map(String::as_str).collect::<Vec<_>>(), declared, "in the same order");
    }
}
