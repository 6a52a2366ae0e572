//! The table of causes: what each means, how to confirm it, how to mend it.
//!
//! The one source for `rstwatch explain`, the advice in traces, the status page and the documentation.

use serde::Serialize;

use crate::cause::Cause;

/// What we know of one cause.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The cause.
    pub cause: Cause,
    /// One line for lists.
    pub brief: &'static str,
    /// What happened, in a few sentences.
    pub means: &'static str,
    /// What to look at, each with the command that shows it (or none).
    pub confirm: &'static [(&'static str, &'static str)],
    /// Advice in one short line; empty where there is nothing to mend.
    pub fix: &'static str,
    /// What else helps.
    pub fix_more: &'static [&'static str],
}

/// Every cause, in the order of [`Cause::ALL`].
pub const TABLE: &[Entry] = &[
    Entry {
        cause: Cause::Refused,
        brief: "RST answered a SYN: nothing listens there",
        means: "A connection attempt met a port on which nothing listens, so the stack answered the SYN with an RST. \
                No connection existed: this is \"connection refused\", another fault than \"connection reset\".",
        confirm: &[
            ("who is refused, and by which address and port", "rstwatch trace --cause refused"),
            ("on the addressed host: does anything listen on that port, and on that address", "ss -Hltnp"),
            ("was the server restarting at that moment", ""),
        ],
        fix: "start the server, or point the client at the right address and port",
        fix_more: &[
            "A server bound to 127.0.0.1 refuses what comes to any other address.",
            "Let readiness checks pass only after listen(), so that no traffic is routed to a starting server.",
            "A firewall that rejects with tcp reset looks the same to the client: see firewall_reject.",
        ],
    },
    Entry {
        cause: Cause::IdleReaped,
        brief: "the other side had closed the idle connection when it was used again",
        means: "The connection sat idle; the server, a proxy or a pool on the other side reached its keep-alive timeout and \
                closed it; the next request met the closed connection. A race between two timeouts, not an outage: \
                it needs only that this side keeps idle connections longer than the other.",
        confirm: &[
            (
                "the idle times just before the resets: they sit at or above one timeout",
                "rstwatch trace --cause idle_reaped",
            ),
            (
                "their median, in Prometheus",
                "histogram_quantile(0.5, sum by (le) (rate(rstwatch_reset_idle_seconds_bucket{cause=\"idle_reaped\"}[1h])))",
            ),
            (
                "the keep-alive timeout of each hop: client pool, load balancer, proxy, server; the client's must be the smallest",
                "",
            ),
        ],
        fix: "keep pooled connections idle for less than every hop's timeout; retry idempotent requests once",
        fix_more: &[
            "Set the client pool's idle timeout some seconds below the smallest timeout on the way.",
            "Where the pool cannot do that, have it validate connections before use, or send TCP keepalives.",
            "Retry once when a reused connection resets, and only idempotent requests: blind retries of others are the real bug.",
        ],
    },
    Entry {
        cause: Cause::MiddleboxIdle,
        brief: "a device on the path forgot the quiet connection and reset it",
        means: "A NAT gateway, load balancer or firewall between the ends dropped its state for a connection that was quiet \
                longer than its timeout, and answered the next packet with an RST. The peer never sent it.",
        confirm: &[
            (
                "the RST's TTL differs from the peer's own packets, and the idle times agree with one timeout",
                "rstwatch trace --cause middlebox_idle --json",
            ),
            ("a capture on the peer shows no RST leaving it", "tcpdump -ni any 'tcp[tcpflags] & tcp-rst != 0'"),
            ("which devices are on the path, and their idle timeouts", ""),
        ],
        fix: "set TCP keepalive below the device's idle timeout, or raise that timeout",
        fix_more: &[
            "Linux sends its first keepalive after 7200 s unless told otherwise: set TCP_KEEPIDLE or net.ipv4.tcp_keepalive_time.",
            "For pooled connections a short idle timeout in the pool does the same.",
            "Common timeouts: AWS NLB and NAT gateway 350 s, Azure 240 s, IPVS 900 s, many firewalls 3600 s.",
        ],
    },
    Entry {
        cause: Cause::MiddleboxInjected,
        brief: "a device on the path reset a busy connection in the peer's name",
        means: "The RST bears the peer's address but was not made by the peer's stack: its TTL or shape differs from the \
                peer's packets, or it came sooner than the peer could answer. The connection was in use.",
        confirm: &[
            (
                "ttl against ttl_expected, delay_us and flags of the RST",
                "rstwatch trace --cause middlebox_injected --json",
            ),
            ("a capture on the peer shows no RST leaving it", "tcpdump -ni any 'tcp[tcpflags] & tcp-rst != 0'"),
            ("which firewalls, intrusion prevention or proxies are on the path", "tracepath -n PEER"),
        ],
        fix: "find the firewall or IPS on the path: compare the RST's TTL with the hops to it",
        fix_more: &[
            "A TTL that is a round initial value (64, 128, 255) was set on this link or this host.",
            "Ask for the device's log at the time of the reset; the addresses and ports are in the JSON.",
        ],
    },
    Entry {
        cause: Cause::ProcessDied,
        brief: "the owner crashed, was killed or exited with connections open",
        means: "The process that owned the socket ended (crash, signal, OOM kill or plain exit) while the connection was open, \
                and the kernel reset what it left behind.",
        confirm: &[
            ("the resets line up with restarts, deploys or kills", "rstwatch trace --cause process_died"),
            ("was it killed for memory", "journalctl -k --grep 'Out of memory|oom-kill'"),
            ("did the supervisor restart it", "systemctl status UNIT; kubectl describe pod POD"),
        ],
        fix: "drain connections on SIGTERM before exit; if it was no shutdown, look at the crash",
        fix_more: &[
            "On SIGTERM: stop accepting, finish what is in flight, close, exit.",
            "Make the orchestrator's grace period longer than the drain.",
            "Take the instance out of the load balancer before it stops.",
        ],
    },
    Entry {
        cause: Cause::ListenerClosed,
        brief: "the server stopped with unaccepted connections in its queue",
        means: "The listening socket was closed while finished handshakes waited in its accept queue. Those clients believed \
                themselves connected; the kernel reset them.",
        confirm: &[
            ("the resets line up with stops of the server", "rstwatch trace --cause listener_closed"),
            ("length of the accept queue just before (Recv-Q)", "ss -Hltn"),
        ],
        fix: "on shutdown accept what is queued before closing the listener",
        fix_more: &[
            "Take the instance out of the load balancer first, wait, then close.",
            "Pass the listener on (socket activation, SO_REUSEPORT with migration: net.ipv4.tcp_migrate_req) instead of closing it.",
        ],
    },
    Entry {
        cause: Cause::UnreadData,
        brief: "close() with received data unread",
        means: "The application closed the socket while data of the peer lay unread in it. The peer must learn that its data \
                was lost, so the stack sends an RST instead of a FIN (RFC 9293 section 3.6.1). Typical: an early error \
                response to a large upload.",
        confirm: &[
            ("unread_bytes of the events", "rstwatch trace --cause unread_data --json"),
            ("which code path closes early: size limits, authentication failures, timeouts", ""),
        ],
        fix: "read the request or response to its end before close(), also on error paths",
        fix_more: &[
            "Servers that reject uploads: shutdown(SHUT_WR), drain for a bounded time, then close.",
            "Clients with large uploads: send Expect: 100-continue.",
            "Clients: read the whole response body before giving the connection back.",
        ],
    },
    Entry {
        cause: Cause::DataAfterClose,
        brief: "data arrived after the receiver had closed, without an idle gap",
        means: "One end closed its socket while the other was still sending; the stack answered that data with an RST. \
                Typical: an early response, a cancelled request, a client that gave up.",
        confirm: &[
            ("who closed first, and how long before", "rstwatch trace --cause data_after_close"),
            ("client timeouts and cancellations at the same time", ""),
        ],
        fix: "keep reading until the peer's FIN before close(); let the sender stop first",
        fix_more: &[
            "Use shutdown(SHUT_WR) and read to the end instead of close() while the peer may be sending.",
            "Clients with large uploads: send Expect: 100-continue.",
            "A client that cancels requests on purpose may leave this as it is.",
        ],
    },
    Entry {
        cause: Cause::LingerAbort,
        brief: "the application aborted on purpose (SO_LINGER 0)",
        means: "The application set SO_LINGER with zero time, or disconnected the socket, and so asked for an RST instead of \
                an orderly close. Health checkers, proxies and load generators do it to avoid TIME_WAIT.",
        confirm: &[
            ("which process does it", "rstwatch trace --cause linger_abort"),
            ("does it set the option", "strace -f -e trace=setsockopt -p PID"),
        ],
        fix: "remove SO_LINGER 0 unless the abort is intended",
        fix_more: &[
            "A health check that aborts after its answer is harmless.",
            "Data in flight is lost by an abort: never use it to end a real exchange.",
        ],
    },
    Entry {
        cause: Cause::AdminAbort,
        brief: "the socket was destroyed from outside (ss -K, SOCK_DESTROY)",
        means: "Another program asked the kernel to destroy the socket: ss -K, an agent that uses SOCK_DESTROY, or a BPF program.",
        confirm: &[
            ("when, and which sockets", "rstwatch trace --cause admin_abort"),
            ("who may: agents with CAP_NET_ADMIN (network plugins, service load balancers, mobility daemons)", ""),
        ],
        fix: "find the program that destroys sockets: ss -K, or a network agent",
        fix_more: &["Some network plugins destroy sockets of backends that went away: that is intended."],
    },
    Entry {
        cause: Cause::FirewallReject,
        brief: "a netfilter rule rejected with tcp reset",
        means: "A firewall rule refused the segment with an RST (reject with tcp reset). On this host the kernel says so; \
                on another it is inferred.",
        confirm: &[
            ("which connections", "rstwatch trace --cause firewall_reject"),
            ("the rule, with its counter", "nft list ruleset | grep -n 'reject'; iptables-save -c | grep REJECT"),
            ("follow packets through the rules, after a rule with `meta nftrace set 1`", "nft monitor trace"),
        ],
        fix: "find the rule (nft list ruleset, iptables-save -c) and permit the traffic, or leave it refused",
        fix_more: &[
            "A reject in the middle of a connection often means that connection tracking calls its packets invalid: look at conntrack_full.",
        ],
    },
    Entry {
        cause: Cause::ListenOverflow,
        brief: "the accept queue was full",
        means: "The server accepts more slowly than clients connect: the accept queue was full when the handshake ended, and the \
                connection was reset then or at its first data.",
        confirm: &[
            ("queue (Recv-Q) against limit (Send-Q) of the listeners", "ss -Hltn"),
            ("the kernel's counters", "nstat -az TcpExtListenOverflows TcpExtListenDrops"),
        ],
        fix: "add capacity so that the server accepts faster; raise its backlog and net.core.somaxconn",
        fix_more: &[
            "A larger backlog carries bursts; it does not help a server that is too slow all the time.",
            "The limit is the smaller of listen()'s backlog and net.core.somaxconn.",
        ],
    },
    Entry {
        cause: Cause::ConntrackFull,
        brief: "the conntrack table was full, or the entry was evicted",
        means: "Connection tracking on this node dropped the connection's entry, or had no room for it. Packets lose their \
                translation, reach a host that does not know them, and draw an RST.",
        confirm: &[
            ("entries against the limit", "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max"),
            ("drops and evictions", "conntrack -S"),
            ("the kernel's complaint", "journalctl -k --grep 'nf_conntrack: table full'"),
        ],
        fix: "raise net.netfilter.nf_conntrack_max, or shorten the timeouts that fill the table",
        fix_more: &[
            "Exempt traffic that needs no tracking (notrack).",
            "Reuse connections: many short ones fill the table.",
        ],
    },
    Entry {
        cause: Cause::KeepaliveTimeout,
        brief: "keepalive or user timeout ended the connection",
        means: "The peer answered neither keepalive probes nor data within the configured time, so this stack gave the \
                connection up.",
        confirm: &[
            ("which peers are silent", "rstwatch trace --cause keepalive_timeout"),
            ("is the peer reachable now", "ping PEER; tracepath -n PEER"),
            ("timers of live connections", "ss -tno"),
        ],
        fix: "look at the peer and the path: nothing came back within the keepalive time",
        fix_more: &[
            "A device that drops quiet connections silently looks the same: set keepalive below its timeout.",
            "The times: net.ipv4.tcp_keepalive_time, _intvl and _probes, or TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT on the socket.",
        ],
    },
    Entry {
        cause: Cause::NoSuchConnection,
        brief: "a segment met a stack that does not know the connection",
        means: "A segment of an established connection reached a stack that has no such connection: the peer rebooted, failed \
                over, was replaced, or a NAT or load balancer lost its mapping and delivered it elsewhere.",
        confirm: &[
            ("which peers, and do they cluster in time", "rstwatch trace --cause no_such_connection"),
            ("restarts and failovers of the peer at that time", "kubectl get events --all-namespaces"),
            (
                "timeouts of NAT and IPVS on the way",
                "ipvsadm -l --timeout; sysctl net.netfilter.nf_conntrack_tcp_timeout_established",
            ),
        ],
        fix: "look for a restart or failover of the peer, or a NAT that lost its mapping",
        fix_more: &[
            "Set TCP keepalive below the NAT's timeout.",
            "Drain before failover; clients should reconnect and retry idempotent requests once.",
        ],
    },
    Entry {
        cause: Cause::ResourceLimit,
        brief: "orphan or TCP memory limit",
        means: "The kernel ran into tcp_mem or tcp_max_orphans and ended the connection to save memory.",
        confirm: &[
            ("orphans and memory in use (pages)", "cat /proc/net/sockstat"),
            ("the limits", "sysctl net.ipv4.tcp_mem net.ipv4.tcp_max_orphans"),
            ("the kernel's counter", "nstat -az TcpExtTCPAbortOnMemory"),
        ],
        fix: "raise net.ipv4.tcp_mem or net.ipv4.tcp_max_orphans, or use fewer and smaller sockets",
        fix_more: &["Many orphans: a process closes connections whose peers no longer answer."],
    },
    Entry {
        cause: Cause::InvalidHandshake,
        brief: "bad ACK or SYN in a handshake, stale duplicate, port reuse",
        means: "A segment did not fit the handshake in progress: an old duplicate, a reused port that met the rest of an earlier \
                connection, a scan.",
        confirm: &[(
            "always the same pair of hosts? Then look for port reuse or asymmetric routes",
            "rstwatch trace --cause invalid_handshake",
        )],
        fix: "usually harmless; if frequent, look for port reuse or asymmetric routing",
        fix_more: &["A NAT that reuses ports faster than TIME_WAIT ends does this: widen its port range."],
    },
    Entry {
        cause: Cause::Mptcp,
        brief: "MPTCP subflow reset",
        means: "A subflow of a Multipath TCP connection was reset; the connection itself may live on over its other subflows.",
        confirm: &[("MPTCP's counters", "nstat -az 'MPTcpExt*'")],
        fix: "",
        fix_more: &[],
    },
    Entry {
        cause: Cause::Unknown,
        brief: "the evidence does not decide",
        means: "What was seen fits no cause well enough, or several equally well. An honest answer: a wrong cause would cost more.",
        confirm: &[
            ("all that was seen of it", "rstwatch trace --cause unknown --json"),
            ("does this kernel deny a probe whose evidence is missed", "rstwatch check"),
            ("run rstwatch on the peer too: both ends together decide most cases", ""),
        ],
        fix: "",
        fix_more: &[],
    },
    Entry {
        cause: Cause::Unsampled,
        brief: "counted in the kernel, but its details were not delivered",
        means: "The reset was counted exactly, but its details did not reach the classifier: more came at once than the ring \
                buffer or the configured rate allows.",
        confirm: &[
            ("where details were lost", "curl -s localhost:9877/metrics | grep rstwatch_events_lost_total"),
            (
                "by the kernel's reason, never sampled",
                "curl -s localhost:9877/metrics | grep rstwatch_kernel_resets_total",
            ),
        ],
        fix: "raise ring_buffer_bytes or detail_rate_per_second in the configuration",
        fix_more: &["A flood of one cause (a port scan, for one) hides little: its details are all alike."],
    },
];

// A cause is its own index: an entry forgotten or misplaced does not compile.
const _: () = {
    assert!(TABLE.len() == Cause::ALL.len());
    let mut i = 0;
    while i < TABLE.len() {
        assert!(TABLE[i].cause as usize == i);
        i += 1;
    }
};
