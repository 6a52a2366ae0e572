//! The table of causes: each is written here, and nowhere else.
//!
//! The vocabulary, `rstwatch explain`, the advice in traces, the colours of page and dashboards, and the documentation
//! are derived from it. The word is part of the interface: it is never renamed.

use super::{Colour, Entry};

causes! {
    Refused = "refused" {
        brief: "RST answered a SYN: nothing listens there",
        phrase: "nothing listens there",
        means: "A SYN arrived at a port where nothing listens, and the stack answered with an RST. No \
                connection existed: this is \"connection refused\", not \"connection reset\".",
        confirm: &[
            ("which clients are refused, and at which address and port", "rstwatch trace --cause refused"),
            ("on the server's host: whether anything listens on that address and port", "ss -Hltnp"),
            ("whether the server was restarting at that moment", ""),
        ],
        fix: "start the server, or have clients use the right address and port",
        fix_peer: "check that a server listens there, and that no firewall rejects; else correct the address or port",
        fix_more: &[
            "A server bound to 127.0.0.1 refuses connections to any other address.",
            "Let readiness checks pass only after listen(), so that no traffic is routed to a starting server.",
            "A firewall that rejects with tcp reset looks the same to the client: see firewall_reject.",
        ],
        benign: false,
        covers: &[Cause::FirewallReject],
        colour: Colour { light: "#4b6584", dark: "#8fa3ba", grafana: "#7E8794" },
    }
    IdleReaped = "idle_reaped" {
        brief: "the idle connection was used after its other end had closed it",
        phrase: "an idle timer",
        means: "A server, proxy or pool at one end closed the connection while it was idle, most often at its \
                keep-alive timeout; the next request met the closed connection. This is a race, not an outage: it \
                happens whenever one end keeps idle connections longer than the other. A server that is being \
                stopped closes its idle connections too, at any time.",
        confirm: &[
            (
                "the idle times just before the resets: they cluster at or above one timeout",
                "rstwatch trace --cause idle_reaped",
            ),
            (
                "the median idle time, in Prometheus",
                "histogram_quantile(0.5, sum by (le) (rate(rstwatch_reset_idle_seconds_bucket{cause=\"idle_reaped\"}[1h])))",
            ),
            (
                "the keep-alive timeout of each hop: client pool, load balancer, proxy, server; the client's must be the smallest",
                "",
            ),
        ],
        fix: "have clients keep pooled connections idle for less than this end's timeout, or raise that timeout",
        fix_peer: "keep pooled connections idle for less than every hop's timeout; retry idempotent requests once",
        fix_more: &[
            "Set the client pool's idle timeout a few seconds below the smallest timeout on the path.",
            "If the pool cannot do that, have it validate connections before use or send TCP keepalives.",
            "Retry once when a reused connection is reset, and only idempotent requests: retrying others may execute them twice.",
        ],
        benign: false,
        covers: &[Cause::LingerAbort, Cause::DataAfterClose, Cause::ProcessDied],
        colour: Colour { light: "#0072b2", dark: "#3d9be9", grafana: "#FF9830" },
    }
    MiddleboxIdle = "middlebox_idle" {
        brief: "a device on the path dropped its state for the idle connection and reset it",
        phrase: "an expired NAT or firewall entry",
        means: "A NAT gateway, load balancer or firewall on the path dropped its state for a connection that \
                had been idle longer than its timeout, and answered the next packet with an RST. The peer did \
                not send it.",
        confirm: &[
            (
                "the RST's TTL differs from that of the peer's packets, and the idle times match one timeout",
                "rstwatch trace --cause middlebox_idle --json",
            ),
            ("a capture on the peer shows no RST leaving it", "tcpdump -ni any 'tcp[tcpflags] & tcp-rst != 0'"),
            ("which devices are on the path, and their idle timeouts", ""),
        ],
        fix: "set TCP keepalive below the device's idle timeout, or raise that timeout",
        fix_peer: "",
        fix_more: &[
            "By default, Linux sends its first keepalive after 7200 s: set TCP_KEEPIDLE or net.ipv4.tcp_keepalive_time.",
            "For pooled connections, a short idle timeout in the pool works too.",
            "Common timeouts: AWS NLB and NAT gateway 350 s, Azure 240 s, IPVS 900 s, many firewalls 3600 s.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#1d91c0", dark: "#7fd3f7", grafana: "#E0570B" },
    }
    MiddleboxInjected = "middlebox_injected" {
        brief: "a device on the path reset a busy connection, using the peer's address",
        phrase: "an RST injected on the path",
        means: "The RST carries the peer's address, but the peer's stack did not send it: its TTL or header \
                differs from the peer's packets, or it arrived sooner than the peer could have answered. The \
                connection was in use.",
        confirm: &[
            (
                "the RST's ttl compared with ttl_expected, its delay_us and its flags",
                "rstwatch trace --cause middlebox_injected --json",
            ),
            ("a capture on the peer shows no RST leaving it", "tcpdump -ni any 'tcp[tcpflags] & tcp-rst != 0'"),
            ("which firewalls, intrusion prevention or proxies are on the path", "tracepath -n PEER"),
        ],
        fix: "find the firewall or IPS: the RST's TTL tells its distance; on this link tcpdump -e shows its MAC address",
        fix_peer: "",
        fix_more: &[
            "An RST with a TTL of exactly 64, 128 or 255 was sent from this link or this host.",
            "Ask for the device's log at the time of the reset; the JSON has the addresses and ports.",
        ],
        benign: false,
        covers: &[Cause::MiddleboxIdle, Cause::FirewallReject, Cause::ConntrackFull, Cause::NoSuchConnection],
        colour: Colour { light: "#b0508c", dark: "#d98cc0", grafana: "#E02FBF" },
    }
    ProcessDied = "process_died" {
        brief: "the owning process crashed, was killed or exited with the connection open",
        phrase: "its process died",
        means: "The process that owned the socket ended (crash, signal, OOM kill or exit) while the connection \
                was open, and the kernel reset the connection.",
        confirm: &[
            ("the resets coincide with restarts, deploys or kills", "rstwatch trace --cause process_died"),
            ("whether the OOM killer ended it", "journalctl -k --grep 'Out of memory|oom-kill'"),
            ("whether its supervisor restarted it", "systemctl status UNIT; kubectl describe pod POD"),
        ],
        fix: "drain connections on SIGTERM before exit; if it was not a shutdown, investigate the crash",
        fix_peer: "find out why the peer's process ended: a deploy, a crash, an OOM kill; it should drain before a planned exit",
        fix_more: &[
            "On SIGTERM: stop accepting, finish requests in flight, close, exit.",
            "Make the orchestrator's grace period longer than the drain.",
            "Take the instance out of the load balancer before it stops.",
        ],
        benign: false,
        covers: &[Cause::UnreadData, Cause::LingerAbort, Cause::IdleReaped, Cause::Probe],
        colour: Colour { light: "#d55e00", dark: "#f2792e", grafana: "#E02F44" },
    }
    ListenerClosed = "listener_closed" {
        brief: "the server stopped with unaccepted connections in its queue",
        phrase: "its listener stopped",
        means: "The listening socket was closed while completed connections waited in its accept queue. Their \
                clients considered themselves connected; the kernel reset them.",
        confirm: &[
            ("the resets coincide with stops of the server", "rstwatch trace --cause listener_closed"),
            ("length of the accept queue just before (Recv-Q)", "ss -Hltn"),
        ],
        fix: "on shutdown, accept the queued connections before closing the listener",
        fix_peer: "connect again; take the peer out of the load balancer before it stops",
        fix_more: &[
            "Take the instance out of the load balancer first, wait, then close.",
            "Hand the listener over (socket activation, or SO_REUSEPORT with net.ipv4.tcp_migrate_req) instead of closing it.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#a6761d", dark: "#d9a441", grafana: "#8F1C2C" },
    }
    UnreadData = "unread_data" {
        brief: "close() with received data unread",
        phrase: "data left unread",
        means: "The application closed the socket before it had read all received data. To tell the peer that \
                data was lost, the stack sends an RST instead of a FIN (RFC 9293 section 3.6.1). A typical \
                case is an early error response to a large upload.",
        confirm: &[
            ("unread_bytes in the events", "rstwatch trace --cause unread_data --json"),
            ("which code path closes early: size limits, authentication failures, timeouts", ""),
        ],
        fix: "read the request or response to its end before close(), on error paths too",
        fix_peer: "find out why the peer stopped reading: a limit, a timeout, a cancelled request; its last message may say",
        fix_more: &[
            "Servers that reject uploads: call shutdown(SHUT_WR), drain for a bounded time, then close.",
            "Clients with large uploads: send Expect: 100-continue.",
            "Clients: read the whole response body before returning the connection to its pool.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#c98500", dark: "#f0b429", grafana: "#FF7383" },
    }
    DataAfterClose = "data_after_close" {
        brief: "data arrived after the receiver had closed, without an idle gap",
        phrase: "a close while data was on its way",
        means: "One end closed its socket while the other was still sending, and the stack answered the data \
                with an RST. Typical cases are an early response, a cancelled request and a client that gave \
                up.",
        confirm: &[
            ("which end closed first, and how long before", "rstwatch trace --cause data_after_close"),
            ("client timeouts and cancellations at the same time", ""),
        ],
        fix: "keep reading until the peer's FIN before close(); let the sender stop first",
        fix_peer: "find out why the peer closed while this end still sent: an early response, a timeout, a cancelled request",
        fix_more: &[
            "Use shutdown(SHUT_WR) and read to the end instead of close() while the peer may be sending.",
            "Clients with large uploads: send Expect: 100-continue.",
            "A client that cancels requests on purpose needs no change.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#8c510a", dark: "#b97a3a", grafana: "#FFB3B8" },
    }
    LingerAbort = "linger_abort" {
        brief: "the application aborted on purpose (SO_LINGER 0)",
        phrase: "an abort on purpose",
        means: "The application set SO_LINGER with a zero timeout, or disconnected the socket, which requests \
                an RST instead of an orderly close. Health checkers, proxies and load generators do this to \
                avoid TIME_WAIT.",
        confirm: &[
            ("which process does it", "rstwatch trace --cause linger_abort"),
            ("whether it sets the option", "strace -f -e trace=setsockopt -p PID"),
        ],
        fix: "remove SO_LINGER 0 unless the abort is intended",
        fix_peer: "check whether the peer means to abort, as health checks do; where data is lost, remove SO_LINGER 0 there",
        fix_more: &[
            "A health check that aborts after its answer is harmless.",
            "Data in flight is lost by an abort: never use it to end a real exchange.",
        ],
        benign: false,
        covers: &[Cause::IdleReaped, Cause::Probe],
        colour: Colour { light: "#009e73", dark: "#2fc79a", grafana: "#8AB8FF" },
    }
    AdminAbort = "admin_abort" {
        brief: "the socket was destroyed from outside (ss -K, SOCK_DESTROY)",
        phrase: "its socket was destroyed from outside",
        means: "Another program asked the kernel to destroy the socket: ss -K, an agent that uses \
                SOCK_DESTROY, or a BPF program.",
        confirm: &[
            ("when, and which sockets", "rstwatch trace --cause admin_abort"),
            ("candidates: agents with CAP_NET_ADMIN (network plugins, service load balancers, mobility daemons)", ""),
        ],
        fix: "find the program that destroys sockets: ss -K, or a network agent",
        fix_peer: "find the program on the peer's host that destroys sockets: ss -K, or a network agent",
        fix_more: &["Some network plugins destroy sockets of removed backends: that is intended."],
        benign: false,
        covers: &[],
        colour: Colour { light: "#117733", dark: "#5da85d", grafana: "#3274D9" },
    }
    FirewallReject = "firewall_reject" {
        brief: "a netfilter rule rejected with tcp reset",
        phrase: "a firewall rule",
        means: "A firewall rule rejected the segment with an RST (reject with tcp reset). On this host the \
                kernel reports it; on another host it is inferred.",
        confirm: &[
            ("the affected connections", "rstwatch trace --cause firewall_reject"),
            ("the rule, with its counter", "nft list ruleset | grep -n 'reject'; iptables-save -c | grep REJECT"),
            ("follow packets through the rules, after a rule with `meta nftrace set 1`", "nft monitor trace"),
        ],
        fix: "find the rule (nft list ruleset, iptables-save -c) and permit the traffic, or leave it rejected",
        fix_peer: "find the rule, on the peer's host or a firewall on the path, and permit the traffic, or leave it rejected",
        fix_more: &[
            "A reject in the middle of a connection often means that connection tracking considers its packets invalid: see conntrack_full.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#882255", dark: "#d0577f", grafana: "#A352CC" },
    }
    ListenOverflow = "listen_overflow" {
        brief: "the accept queue was full",
        phrase: "a full accept queue",
        means: "Clients connect faster than the server accepts: the accept queue was full when the handshake \
                completed, and the connection was reset then or at its first data.",
        confirm: &[
            ("each listener's queue (Recv-Q) and its limit (Send-Q)", "ss -Hltn"),
            ("the kernel's counters", "nstat -az TcpExtListenOverflows TcpExtListenDrops"),
        ],
        fix: "add capacity so that the server accepts faster; raise its backlog and net.core.somaxconn",
        fix_peer: "reuse connections and retry with backoff; the peer needs a larger backlog, or capacity to accept faster",
        fix_more: &[
            "A larger backlog absorbs bursts; it does not help a server that is always too slow.",
            "The limit is the smaller of listen()'s backlog and net.core.somaxconn.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#cc3311", dark: "#ff5a45", grafana: "#FADE2A" },
    }
    ConntrackFull = "conntrack_full" {
        brief: "the conntrack table was full, or the entry was evicted",
        phrase: "a full conntrack table",
        means: "Connection tracking on this node evicted the connection's entry, or had no room for it. Its \
                packets are no longer translated, reach a host that does not know the connection, and draw an \
                RST.",
        confirm: &[
            ("entries against the limit", "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max"),
            ("drops and evictions", "conntrack -S"),
            ("the kernel's log message", "journalctl -k --grep 'nf_conntrack: table full'"),
        ],
        fix: "raise net.netfilter.nf_conntrack_max, or shorten the timeouts that fill the table",
        fix_peer: "raise net.netfilter.nf_conntrack_max on the peer's node, or shorten the timeouts that fill the table",
        fix_more: &[
            "Exempt traffic that needs no tracking (notrack).",
            "Reuse connections: many short connections fill the table.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#ee3377", dark: "#ff6fa3", grafana: "#CFA100" },
    }
    NatUntranslated = "nat_untranslated" {
        brief: "a segment came without its address translation, and the stack reset it",
        phrase: "a reply whose translation was not undone",
        means: "A segment of a live connection reached its destination with an address that should have been \
                translated: connection tracking on the router considered it invalid, or it took another path. \
                The stack there knows no connection with that address and answered with an RST, which ended a \
                healthy connection at the end that had sent the segment.",
        confirm: &[
            ("the address that the segment came with, and the one that it should have", "rstwatch trace --cause nat_untranslated"),
            ("on the router that translates: the segments that connection tracking considers invalid", "conntrack -S"),
            (
                "which ones: add a rule that counts and logs them",
                "nft insert rule inet filter forward ct state invalid counter log",
            ),
            ("whether both directions pass the router", "ip route get ADDRESS"),
        ],
        fix: "drop INVALID packets in FORWARD, or set net.netfilter.nf_conntrack_tcp_be_liberal=1",
        fix_peer: "on the router that translates, drop INVALID packets in FORWARD, or set nf_conntrack_tcp_be_liberal=1",
        fix_more: &[
            "Do so on the router that translates: for Kubernetes services, that is the client's node.",
            "A dropped segment is retransmitted, and the retransmission is usually translated.",
            "If SYN-ACKs are reset, replies bypass the router: route them through it, or translate the source address too.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#a6761d", dark: "#dcae52", grafana: "#B877D9" },
    }
    KeepaliveTimeout = "keepalive_timeout" {
        brief: "keepalive or user timeout ended the connection",
        phrase: "its keepalives went unanswered",
        means: "The peer answered neither keepalive probes nor data within the configured time, so this stack \
                ended the connection.",
        confirm: &[
            ("which peers stopped answering", "rstwatch trace --cause keepalive_timeout"),
            ("whether the peer is reachable now", "ping PEER; tracepath -n PEER"),
            ("timers of live connections", "ss -tno"),
        ],
        fix: "check the peer and the path: nothing was received within the keepalive time",
        fix_peer: "check the path: the peer's probes or data went unanswered; look for a device that drops idle connections",
        fix_more: &[
            "A device that silently drops idle connections looks the same: set keepalive below its timeout.",
            "Settings: net.ipv4.tcp_keepalive_time, _intvl and _probes, or TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT on the socket.",
        ],
        benign: false,
        covers: &[],
        colour: Colour { light: "#332288", dark: "#8f86f0", grafana: "#37872D" },
    }
    NoSuchConnection = "no_such_connection" {
        brief: "a segment met a stack that does not know the connection",
        phrase: "a restart or lost NAT mapping",
        means: "A segment of an established connection reached a stack that has no such connection: the peer \
                rebooted, failed over or was replaced, or a NAT or load balancer lost its mapping and \
                delivered the segment elsewhere.",
        confirm: &[
            ("which peers, and whether the resets cluster in time", "rstwatch trace --cause no_such_connection"),
            ("restarts and failovers of the peer at that time", "kubectl get events --all-namespaces"),
            (
                "timeouts of NAT and IPVS on the path",
                "ipvsadm -l --timeout; sysctl net.netfilter.nf_conntrack_tcp_timeout_established",
            ),
        ],
        fix: "look for a restart or failover of this host, or a NAT or load balancer that misdirected the segment",
        fix_peer: "look for a restart or failover of the peer, or a NAT that lost its mapping",
        fix_more: &[
            "Set TCP keepalive below the NAT's timeout.",
            "Drain before failover; clients should reconnect and retry idempotent requests once.",
        ],
        benign: false,
        covers: &[
            Cause::IdleReaped,
            Cause::ProcessDied,
            Cause::DataAfterClose,
            Cause::ListenOverflow,
            Cause::MiddleboxIdle,
            Cause::NatUntranslated,
            Cause::KeepaliveTimeout,
            Cause::UnreadData,
            Cause::LingerAbort,
            Cause::FirewallReject,
            Cause::ResourceLimit,
            Cause::MiddleboxInjected,
            Cause::InvalidHandshake,
            Cause::Probe,
        ],
        colour: Colour { light: "#2f8f83", dark: "#5fc9ba", grafana: "#73BF69" },
    }
    PeerAbort = "peer_abort" {
        brief: "a live socket of the peer ended the connection",
        phrase: "an abort by its live socket",
        means: "The RST came from a live socket: the peer's program closed it with data unread, aborted on \
                purpose, died, stopped its listener or let a timer end it. From this end these are one \
                packet; the candidates say which remain.",
        confirm: &[
            ("the candidates of each reset, and what would decide between them", "rstwatch trace --cause peer_abort"),
            ("the peer's own verdict: on its host", "rstwatch trace --direction sent"),
            ("the log of the peer's program at that time", ""),
        ],
        fix: "find out which of the candidates it was: the program's log at that time says",
        fix_peer: "look at the peer: its log at that time, or rstwatch on its host, says which of the candidates it was",
        fix_more: &[
            "Bytes from the peer that lie unread here often say why, as an HTTP status does; they can still be read after the reset.",
            "Resets at the same time as deploys of the peer: its process ended, see process_died.",
        ],
        benign: false,
        covers: &[
            Cause::UnreadData,
            Cause::LingerAbort,
            Cause::ProcessDied,
            Cause::ListenerClosed,
            Cause::IdleReaped,
            Cause::KeepaliveTimeout,
            Cause::AdminAbort,
            Cause::ResourceLimit,
            Cause::Probe,
            Cause::Mptcp,
        ],
        colour: Colour { light: "#a0522d", dark: "#e08a5a", grafana: "#F2A65A" },
    }
    Probe = "probe" {
        brief: "opened and aborted by the opener without a byte of payload",
        phrase: "a probe without payload",
        means: "The side that opened the connection aborted it before either side had sent payload. Health \
                checks of load balancers and port scanners do this.",
        confirm: &[
            ("which hosts do it, and how regularly", "rstwatch trace --cause probe"),
            ("the health checks of load balancers and orchestrators in front of this port", ""),
        ],
        fix: "",
        fix_peer: "",
        fix_more: &["Many addresses or many ports in a short time: a scan."],
        benign: true,
        covers: &[],
        colour: Colour { light: "#44806b", dark: "#86c7ad", grafana: "#96D98D" },
    }
    ResourceLimit = "resource_limit" {
        brief: "orphan or TCP memory limit",
        phrase: "its TCP memory limit",
        means: "The kernel reached the limit tcp_mem or tcp_max_orphans and reset the connection to save \
                memory.",
        confirm: &[
            ("orphans and memory in use (pages)", "cat /proc/net/sockstat"),
            ("the limits", "sysctl net.ipv4.tcp_mem net.ipv4.tcp_max_orphans"),
            ("the kernel's counter", "nstat -az TcpExtTCPAbortOnMemory"),
        ],
        fix: "raise net.ipv4.tcp_mem or net.ipv4.tcp_max_orphans, or use fewer and smaller sockets",
        fix_peer: "raise net.ipv4.tcp_mem or net.ipv4.tcp_max_orphans on the peer's host, or open fewer connections to it",
        fix_more: &["Many orphans mean that a process closes connections to peers that no longer answer."],
        benign: false,
        covers: &[],
        colour: Colour { light: "#7f7f22", dark: "#c3c34f", grafana: "#FFF899" },
    }
    InvalidHandshake = "invalid_handshake" {
        brief: "bad ACK or SYN in a handshake, stale duplicate, port reuse",
        phrase: "a segment that did not fit the handshake",
        means: "A segment did not fit the handshake in progress: an old duplicate, a segment of an earlier \
                connection on a reused port, or a scan.",
        confirm: &[(
            "whether it is always the same pair of hosts: then look for port reuse or asymmetric routes",
            "rstwatch trace --cause invalid_handshake",
        )],
        fix: "usually harmless; if frequent, look for port reuse or asymmetric routing",
        fix_peer: "",
        fix_more: &["A NAT that reuses ports before TIME_WAIT ends causes this: widen its port range."],
        benign: true,
        covers: &[],
        colour: Colour { light: "#6a51a3", dark: "#b79be8", grafana: "#C0D8FF" },
    }
    Mptcp = "mptcp" {
        brief: "MPTCP subflow reset",
        phrase: "an MPTCP subflow was reset",
        means: "A subflow of a Multipath TCP connection was reset; the connection itself may live on over its \
                other subflows.",
        confirm: &[("MPTCP's counters", "nstat -az 'MPTcpExt*'")],
        fix: "",
        fix_peer: "",
        fix_more: &[],
        benign: true,
        covers: &[],
        colour: Colour { light: "#5b6abf", dark: "#8d9bf0", grafana: "#5AD8E6" },
    }
    Unknown = "unknown" {
        brief: "the evidence does not decide",
        phrase: "an unknown cause",
        means: "The evidence fits no cause well enough, or several equally well. A wrong cause would cost more \
                than this answer.",
        confirm: &[
            ("everything that was seen", "rstwatch trace --cause unknown --json"),
            ("whether this kernel lacks a probe, and which evidence that costs", "rstwatch check"),
            ("run rstwatch on the peer too: both ends together decide most cases", ""),
        ],
        fix: "",
        fix_peer: "",
        fix_more: &[],
        benign: false,
        covers: &[],
        colour: Colour { light: "#8a8a8a", dark: "#a8adb5", grafana: "#B8BEC7" },
    }
    Unsampled = "unsampled" {
        brief: "counted in the kernel, but its details were not delivered",
        phrase: "a reset without details",
        means: "The reset was counted exactly, but its details did not reach the classifier: more resets came \
                at once than the ring buffer or the configured rate allows.",
        confirm: &[
            ("where details were lost", "curl -s localhost:9877/metrics | grep rstwatch_events_lost_total"),
            (
                "by the kernel's reason, never sampled",
                "curl -s localhost:9877/metrics | grep rstwatch_kernel_resets_total",
            ),
        ],
        fix: "raise ring_buffer_bytes or detail_rate_per_second in the configuration",
        fix_peer: "",
        fix_more: &["A flood with a single cause, such as a port scan, hides little: its resets are alike."],
        benign: false,
        covers: &[],
        colour: Colour { light: "#5a5a5a", dark: "#6f7680", grafana: "#565C66" },
    }
}
