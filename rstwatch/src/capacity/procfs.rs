//! Parses the kernel's files below /proc into numbers. Absent or malformed values are left out.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::Path;

use super::ConntrackDrops;

/// Counters of one network namespace by metric name, such as `tcp_ext_listen_overflows`.
pub type Counters = BTreeMap<String, u64>;

/// Counters of `TcpExt` that concern resets and capacity, by prefix, so that those of newer kernels are included.
const TCP_EXT: [&str; 4] = ["Listen", "TCPAbort", "Syncookies", "TCPReqQFull"];
/// The same for `Tcp`.
const TCP: [&str; 3] = ["OutRsts", "EstabResets", "AttemptFails"];

/// Counters of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// From `netstat` and `snmp`.
    pub counters: Counters,
    /// Entries in its conntrack table.
    pub entries: Option<u64>,
    /// Losses of its connection tracking since the namespace was created.
    pub drops: ConntrackDrops,
}

impl Reading {
    /// Reads the directory `net` of a task in the namespace; `None` without TCP counters: the task has gone.
    pub fn of(net: &Path) -> Option<Self> {
        let text = |name: &str| read_to_string(net.join(name)).unwrap_or_default();
        let mut counters = table(&text("netstat"), "TcpExt", &TCP_EXT);
        if counters.is_empty() {
            return None;
        }
        counters.extend(table(&text("snmp"), "Tcp", &TCP));
        let conntrack = text("stat/nf_conntrack");
        let drops = ConntrackDrops {
            full: column(&conntrack, "drop"),
            early_drop: column(&conntrack, "early_drop"),
            insert_failed: column(&conntrack, "insert_failed"),
            invalid: column(&conntrack, "invalid"),
        };
        Some(Self { counters, entries: entries(&conntrack), drops })
    }

    /// Overflows of accept queues in the namespace.
    pub fn listen_overflows(&self) -> Option<u64> {
        self.counter("tcp_ext_listen_overflows")
    }

    /// A counter by metric name.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }
}

/// Counters of a protocol: a line of names, then one of values (net/ipv4/proc.c).
fn table(text: &str, protocol: &str, wanted: &[&str]) -> Counters {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Counters::new() };
    let prefix = snake(protocol);
    let wanted = |name: &str| wanted.iter().any(|beginning| name.starts_with(beginning));
    names
        .split(' ')
        .zip(values.split(' '))
        .filter(|(name, _)| wanted(name) && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .filter_map(|(name, value)| Some((format!("{prefix}_{}", snake(name)), value.parse().ok()?)))
        .collect()
}

/// Snake case: `TCPAbortOnData` becomes `tcp_abort_on_data`. A capital begins a word if a lower-case letter is next to it.
fn snake(name: &str) -> String {
    let bytes = name.as_bytes();
    let is_lower = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_lowercase);
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() && (is_lower(at.checked_sub(1)) || is_lower(Some(at + 1))) {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// A hexadecimal column of `stat/nf_conntrack`, summed over its lines, one for each CPU
/// (net/netfilter/nf_conntrack_standalone.c, ct_cpu_seq_show).
fn column(stat: &str, name: &str) -> Option<u64> {
    cells(stat, name)?.into_iter().try_fold(0, u64::checked_add)
}

/// Number of entries, repeated in each line.
fn entries(stat: &str) -> Option<u64> {
    cells(stat, "entries")?.first().copied()
}

fn cells(stat: &str, name: &str) -> Option<Vec<u64>> {
    let mut lines = stat.lines();
    let at = lines.next()?.split_whitespace().position(|it| it == name)?;
    lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(at)?, 16).ok()).collect()
}

/// A number from the line `TCP:` of `sockstat`, such as `orphan`, `tw` or `mem`.
pub fn sockstat(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split(' ').skip_while(|word| *word != name);
    words.nth(1)?.parse().ok()
}

/// The last number of a sysctl file: `tcp_mem` has three.
pub fn setting(path: &Path) -> Option<u64> {
    read_to_string(path).ok()?.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_names_become_snake_case() {
        for (name, expected) in [
            ("TcpExt", "tcp_ext"),
            ("Tcp", "tcp"),
            ("ListenOverflows", "listen_overflows"),
            ("TCPAbortOnData", "tcp_abort_on_data"),
            ("TCPAbortFailed", "tcp_abort_failed"),
            ("TCPReqQFullDoCookies", "tcp_req_q_full_do_cookies"),
            ("SyncookiesSent", "syncookies_sent"),
            ("OutRsts", "out_rsts"),
        ] {
            assert_eq!(snake(name), expected);
        }
    }

    #[test]
    fn malformed_text_is_left_out() {
        for text in ["", "TcpExt: ListenDrops\n", "TcpExt: ListenDrops\nTcpExt: many\n", "Tcp: ListenDrops\nTcp: 1\n"] {
            assert_eq!(table(text, "TcpExt", &TCP_EXT), Counters::new(), "{text:?}");
        }
        assert_eq!(table("TcpExt: Listen{x=\"\n ListenDrops\nTcpExt: 1 2\n", "TcpExt", &TCP_EXT), Counters::new());
        for text in ["", "entries\n", "entries drop\n0 zz\n", "entries drop\n1\n"] {
            assert_eq!(column(text, "drop"), None, "{text:?}");
        }
        assert_eq!(sockstat("TCP: inuse 1 orphan\n", "orphan"), None);
        assert_eq!(sockstat("TCP: inuse 1 orphan 2 tw 3\n", "tw"), Some(3));
        assert_eq!(sockstat("UDP: inuse 1\n", "inuse"), None);
    }
}
