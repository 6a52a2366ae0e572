//! What each row makes, and what each vantage point is expected to say of it. This table
//! is the place to change an expectation.

use anyhow::Result;

use super::place::Family::{self, V4, V6};
use super::place::Place::{self, Client as C, Rebooted as S2, Router as R, Server as S};
use super::rows::{Scene, app, death, firewall, idle, late, middlebox, overload, quiet, reboot};
use super::vantage::Seen;

const APP: &str = "local_app";
const KERNEL: &str = "local_kernel";
const FIREWALL: &str = "local_firewall";
const PEER: &str = "peer";
const MIDDLEBOX: &str = "middlebox";
/// The evidence does not tell who.
const UNKNOWN: &str = "unknown";

/// Sees rejects by themselves. Kernels that refuse it leave only dropped packets to go
/// by, which tell a reject from a silent drop where a socket nearby receives the RST.
const REJECTS: &str = "nf_send_reset";

/// SYNs of row 11.
pub(super) const FLOOD: u64 = 300;

/// One expected event: direction, where, cause, sender.
#[derive(Clone, Copy)]
pub(super) struct Want {
    direction: &'static str,
    at: Place,
    pub(super) cause: &'static str,
    sender: &'static str,
    /// The probe without which this vantage cannot know.
    pub(super) probe: Option<&'static str>,
}

impl Want {
    const fn needs(self, probe: &'static str) -> Self {
        Self { probe: Some(probe), ..self }
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            direction: self.direction.to_owned(),
            at: Some(self.at),
            cause: self.cause.to_owned(),
            sender: self.sender.to_owned(),
        }
    }
}

const fn sent(at: Place, cause: &'static str, sender: &'static str) -> Want {
    Want { direction: "sent", at, cause, sender, probe: None }
}

const fn received(at: Place, cause: &'static str, sender: &'static str) -> Want {
    Want { direction: "received", at, cause, sender, probe: None }
}

/// One scenario.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) families: &'static [Family],
    /// Programs without which the row is skipped; `ip` and `nft` are taken for granted.
    pub(super) needs: &'static [&'static str],
    pub(super) make: fn(&Scene) -> Result<()>,
    /// How far `TcpOutRsts` moves, by place.
    pub(super) rsts: &'static [(Place, u64)],
    /// How many packets its reject rule answers.
    pub(super) rejects: u64,
    /// More resets than a watcher has to print one by one: at least one must be seen, all
    /// alike, and the agent's metrics must have counted every one.
    pub(super) flood: bool,
    pub(super) all: &'static [Want],
    pub(super) client: &'static [Want],
    pub(super) server: &'static [Want],
}

/// What most rows have in common.
const BASE: Row = Row {
    id: "",
    what: "",
    families: &[V4],
    needs: &[],
    make: |_| Ok(()),
    rsts: &[],
    rejects: 0,
    flood: false,
    all: &[],
    client: &[],
    server: &[],
};

/// Every row, in the order in which they run.
pub(super) const ROWS: &[Row] = &[
    Row {
        id: "1",
        what: "connect to a closed port",
        families: &[V4, V6],
        make: app::refused,
        rsts: &[(S, 1)],
        all: &[sent(S, "refused", KERNEL), received(C, "refused", PEER)],
        client: &[received(C, "refused", PEER)],
        server: &[sent(S, "refused", KERNEL)],
        ..BASE
    },
    Row {
        id: "2",
        what: "SO_LINGER 0, then close",
        families: &[V4, V6],
        make: app::linger,
        rsts: &[(S, 1)],
        all: &[sent(S, "linger_abort", APP), received(C, "linger_abort", PEER)],
        client: &[received(C, "linger_abort", PEER)],
        server: &[sent(S, "linger_abort", APP)],
        ..BASE
    },
    Row {
        id: "3",
        what: "close with unread data",
        families: &[V4, V6],
        make: app::unread,
        rsts: &[(S, 1)],
        all: &[sent(S, "unread_data", APP), received(C, "unread_data", PEER)],
        client: &[received(C, "unread_data", PEER)],
        server: &[sent(S, "unread_data", APP)],
        ..BASE
    },
    Row {
        id: "4",
        what: "server killed, then the client writes",
        make: death::killed,
        rsts: &[(S, 1)],
        all: &[sent(S, "process_died", KERNEL), received(C, "process_died", PEER)],
        client: &[received(C, "data_after_close", PEER)],
        server: &[sent(S, "process_died", KERNEL)],
        ..BASE
    },
    Row {
        id: "4a",
        what: "server killed with data unread",
        make: death::killed_unread,
        rsts: &[(S, 1)],
        all: &[sent(S, "process_died", APP), received(C, "process_died", PEER)],
        client: &[received(C, "unread_data", PEER)],
        server: &[sent(S, "process_died", APP)],
        ..BASE
    },
    Row {
        id: "4b",
        what: "listener closed, connection not accepted",
        make: app::listener_closed,
        rsts: &[(S, 1)],
        all: &[sent(S, "listener_closed", APP), received(C, "listener_closed", PEER)],
        client: &[received(C, "unknown", PEER)],
        server: &[sent(S, "listener_closed", APP)],
        ..BASE
    },
    Row {
        id: "5",
        what: "nginx reaped the idle connection, client reuses it",
        needs: &["nginx"],
        make: idle::nginx,
        rsts: &[(S, 1)],
        all: &[sent(S, "idle_reaped", KERNEL), received(C, "idle_reaped", PEER)],
        client: &[received(C, "idle_reaped", PEER)],
        server: &[sent(S, "idle_reaped", KERNEL)],
        ..BASE
    },
    Row {
        id: "5b",
        what: "the same, nginx's FIN lost",
        needs: &["nginx"],
        make: idle::nginx_fin_lost,
        rsts: &[(S, 1)],
        all: &[sent(S, "idle_reaped", KERNEL), received(C, "idle_reaped", PEER)],
        client: &[received(C, "idle_reaped", PEER)],
        server: &[sent(S, "idle_reaped", KERNEL)],
        ..BASE
    },
    Row {
        id: "6a",
        what: "router forgot the idle connection and rejects it",
        needs: &["conntrack"],
        make: middlebox::conntrack_expired,
        rejects: 1,
        all: &[sent(R, "firewall_reject", FIREWALL), received(C, "firewall_reject", FIREWALL)],
        client: &[received(C, "middlebox_idle", MIDDLEBOX)],
        ..BASE
    },
    Row {
        id: "8-input",
        what: "server's input hook rejects a SYN",
        make: firewall::input,
        rejects: 1,
        all: &[sent(S, "firewall_reject", FIREWALL), received(C, "firewall_reject", FIREWALL)],
        client: &[received(C, "refused", PEER)],
        server: &[sent(S, "firewall_reject", FIREWALL).needs(REJECTS)],
        ..BASE
    },
    Row {
        id: "8-iptables",
        what: "the same rule by iptables-nft",
        needs: &["iptables-nft"],
        make: firewall::iptables,
        rejects: 1,
        all: &[sent(S, "firewall_reject", FIREWALL), received(C, "firewall_reject", FIREWALL)],
        client: &[received(C, "refused", PEER)],
        server: &[sent(S, "firewall_reject", FIREWALL).needs(REJECTS)],
        ..BASE
    },
    Row {
        id: "8-forward",
        what: "router's forward hook rejects a busy connection",
        make: firewall::forward_busy,
        rejects: 1,
        all: &[sent(R, "firewall_reject", FIREWALL), received(C, "firewall_reject", FIREWALL)],
        client: &[received(C, "firewall_reject", MIDDLEBOX)],
        ..BASE
    },
    Row {
        id: "8-forward-syn",
        what: "router's forward hook rejects a SYN to a known server",
        make: firewall::forward_syn,
        rejects: 1,
        all: &[sent(R, "firewall_reject", FIREWALL), received(C, "firewall_reject", FIREWALL)],
        // A host before a container that is gone answers just so: the client alone cannot tell.
        client: &[received(C, "refused", UNKNOWN)],
        ..BASE
    },
    Row {
        id: "8-output",
        what: "client's own output hook rejects a busy connection",
        make: firewall::output,
        rejects: 1,
        all: &[sent(C, "firewall_reject", FIREWALL), received(C, "firewall_reject", FIREWALL)],
        client: &[sent(C, "firewall_reject", FIREWALL), received(C, "firewall_reject", FIREWALL)],
        ..BASE
    },
    Row {
        id: "9",
        what: "raw RST from the router, TTL 200, exact sequence",
        make: middlebox::injected,
        all: &[received(C, "middlebox_injected", MIDDLEBOX)],
        client: &[received(C, "middlebox_injected", MIDDLEBOX)],
        ..BASE
    },
    Row {
        id: "10d",
        what: "accept queue full at the third ACK, tcp_abort_on_overflow",
        make: overload::third_ack,
        rsts: &[(S, 2)],
        all: &[
            sent(S, "listen_overflow", KERNEL),
            sent(S, "listen_overflow", KERNEL),
            received(C, "listen_overflow", PEER),
        ],
        client: &[received(C, "unknown", PEER)],
        server: &[sent(S, "listen_overflow", KERNEL), sent(S, "listen_overflow", KERNEL)],
        ..BASE
    },
    Row {
        id: "11",
        what: "300 SYNs to a closed port",
        needs: &["hping3"],
        make: overload::syn_flood,
        rsts: &[(S, FLOOD)],
        flood: true,
        all: &[sent(S, "refused", KERNEL)],
        server: &[sent(S, "refused", KERNEL)],
        ..BASE
    },
    Row {
        id: "12a",
        what: "keepalive unanswered",
        make: late::keepalive,
        rsts: &[(S, 1)],
        all: &[sent(S, "keepalive_timeout", KERNEL), received(C, "keepalive_timeout", PEER)],
        client: &[received(C, "keepalive_timeout", PEER)],
        server: &[sent(S, "keepalive_timeout", KERNEL)],
        ..BASE
    },
    Row {
        id: "13",
        what: "ss -K",
        needs: &["ss"],
        make: app::killed_by_admin,
        rsts: &[(S, 1)],
        all: &[sent(S, "admin_abort", KERNEL), received(C, "admin_abort", PEER)],
        client: &[received(C, "linger_abort", PEER)],
        server: &[sent(S, "admin_abort", KERNEL)],
        ..BASE
    },
    Row {
        id: "16",
        what: "data for an orphan in FIN_WAIT2",
        make: late::fin_wait2,
        rsts: &[(S, 1)],
        all: &[sent(S, "data_after_close", KERNEL), received(C, "data_after_close", PEER)],
        client: &[received(C, "data_after_close", PEER)],
        server: &[sent(S, "data_after_close", KERNEL)],
        ..BASE
    },
    Row {
        id: "18a",
        what: "server rebooted and listens again",
        families: &[V4, V6],
        make: reboot::listening,
        rsts: &[(S2, 1)],
        all: &[sent(S2, "no_such_connection", KERNEL), received(C, "no_such_connection", PEER)],
        client: &[received(C, "no_such_connection", PEER)],
        server: &[sent(S2, "no_such_connection", KERNEL)],
        ..BASE
    },
    Row {
        id: "18b",
        what: "server rebooted, nothing listens",
        make: reboot::deaf,
        rsts: &[(S2, 1)],
        all: &[sent(S2, "no_such_connection", KERNEL), received(C, "no_such_connection", PEER)],
        client: &[received(C, "no_such_connection", PEER)],
        server: &[sent(S2, "no_such_connection", KERNEL)],
        ..BASE
    },
    Row {
        id: "19",
        what: "haproxy reaped the idle connection, client reuses it",
        needs: &["haproxy"],
        make: idle::haproxy,
        rsts: &[(S, 1)],
        all: &[sent(S, "idle_reaped", KERNEL), received(C, "idle_reaped", PEER)],
        client: &[received(C, "idle_reaped", PEER)],
        server: &[sent(S, "idle_reaped", KERNEL)],
        ..BASE
    },
    Row { id: "quiet-client", what: "client closes first", make: quiet::client_first, ..BOTH },
    Row { id: "quiet-server", what: "server closes first", make: quiet::server_first, ..BOTH },
    Row { id: "quiet-half", what: "half close, then the answer", make: quiet::half_close, ..BOTH },
    Row { id: "quiet-syn", what: "SYNs dropped on the way", make: quiet::connect_timeout, ..BASE },
    Row { id: "quiet-data", what: "data dropped on the way", make: quiet::user_timeout, ..BASE },
    Row { id: "quiet-blind", what: "forged RSTs that miss", make: quiet::blind_rst, ..BASE },
];

/// The negative controls of both families.
const BOTH: Row = Row { families: &[V4, V6], ..BASE };
