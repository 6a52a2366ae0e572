//! The kernel's counters and sockets of a namespace, from `/proc/net`.

use anyhow::{Context, Result};

use crate::network::ns::Ns;

/// A TCP state, numbered as in `/proc/net/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u8);

impl State {
    pub(crate) const SYN_RECV: Self = Self(3);
    pub(crate) const FIN_WAIT1: Self = Self(4);
    pub(crate) const FIN_WAIT2: Self = Self(5);
    pub(crate) const ESTABLISHED: Self = Self(1);
    pub(crate) const TIME_WAIT: Self = Self(6);
    pub(crate) const CLOSE_WAIT: Self = Self(8);
    pub(crate) const LISTEN: Self = Self(10);
}

/// `TcpOutRsts`: resets that the namespace's TCP stack sent.
pub(crate) fn out_rsts(ns: &Ns) -> Result<u64> {
    tcp_counter(&ns.proc_net("snmp")?, "OutRsts").context("no OutRsts in /proc/net/snmp")
}

/// `TcpOutRsts` of the calling thread's namespace.
pub(crate) fn own_out_rsts() -> Result<u64> {
    let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").context("/proc/net/snmp")?;
    tcp_counter(&snmp, "OutRsts").context("no OutRsts in /proc/net/snmp")
}

/// `ListenOverflows`: handshakes that found the accept queue full.
pub(crate) fn listen_overflows(ns: &Ns) -> Result<u64> {
    let netstat = ns.proc_net("netstat")?;
    counter(&netstat, "TcpExt: ", "ListenOverflows").context("no ListenOverflows in /proc/net/netstat")
}

fn tcp_counter(snmp: &str, name: &str) -> Option<u64> {
    counter(snmp, "Tcp: ", name)
}

/// A counter by name: the file has a line of names, then one of values.
fn counter(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol));
    let at = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

/// The states of every socket, orphan, TIME_WAIT and half-open connection on a server's
/// port, seen from either end.
pub(crate) fn states(ns: &Ns, port: u16) -> Result<Vec<State>> {
    let mut found = states_in(&ns.proc_net("tcp")?, port);
    found.extend(states_in(&ns.proc_net("tcp6")?, port));
    Ok(found)
}

fn states_in(table: &str, port: u16) -> Vec<State> {
    let rows = table.lines().skip(1);
    rows.filter_map(|line| state_on(line, port)).collect()
}

fn state_on(line: &str, port: u16) -> Option<State> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, remote, state, ..] = words.as_slice() else {
        return None;
    };
    let on_port = |end: &str| {
        let hex = end.rsplit_once(':').map(|(_, hex)| hex);
        hex.is_some_and(|hex| u16::from_str_radix(hex, 16) == Ok(port))
    };
    let state = State(u8::from_str_radix(state, 16).ok()?);
    (on_port(local) || on_port(remote)).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_counter_by_its_heading() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: MaxConn OutSegs OutRsts\nTcp: -1 9 7\n";
        assert_eq!(tcp_counter(snmp, "OutRsts"), Some(7));
        assert_eq!(tcp_counter(snmp, "Nope"), None);
    }

    #[test]
    fn finds_sockets_by_either_port() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0202000A:2711 00000000:0000 0A\n\
            1: 0202000A:1F90 0102000A:2711 08\n\
            2: 0202000A:1F90 0102000A:2712 01\n";
        assert_eq!(states_in(table, 0x2711), [State::LISTEN, State::CLOSE_WAIT]);
    }
}
