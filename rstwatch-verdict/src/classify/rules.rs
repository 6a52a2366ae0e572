//! The table of rules, in order. Each line is one way in which a connection is reset; [`classify`](super) explains the
//! order.

use super::{after_close as a, received as r, sent as s};
use crate::cause::Cause::{
    AdminAbort, ConntrackFull, DataAfterClose, FirewallReject, IdleReaped, InvalidHandshake, KeepaliveTimeout,
    LingerAbort, ListenOverflow, ListenerClosed, MiddleboxIdle, MiddleboxInjected, Mptcp, NatUntranslated,
    NoSuchConnection, ProcessDied, Refused, ResourceLimit, Unknown, UnreadData,
};
use crate::cause::Confidence::{Certain, Guess, Likely};
use crate::cause::Sender::{LocalApp, LocalFirewall, LocalKernel, Middlebox, Peer, Unknown as UnknownSender};
use crate::cause::{Cause, Confidence, Sender};
use crate::evidence::Evidence;

/// One rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Fixed, unique name.
    pub id: &'static str,
    /// Its verdict.
    pub cause: Cause,
    /// Who sent the RST.
    pub sender: Sender,
    /// How sure the verdict is.
    pub confidence: Confidence,
    /// Whether it applies.
    pub when: fn(&Evidence) -> bool,
    /// The evidence, in one sentence for users.
    pub says: fn(&Evidence) -> String,
}

macro_rules! rules {
    ($($id:ident: $cause:ident by $sender:ident, $confidence:ident; when $when:expr; says $says:expr;)+) => {
        /// All rules; the first that applies decides.
        pub const RULES: &[Rule] = &[$(Rule {
            id: stringify!($id),
            cause: $cause,
            sender: $sender,
            confidence: $confidence,
            when: $when,
            says: $says,
        },)+];
    };
}

rules! {
    // Sent by netfilter. Inferred: the RST has the sequence numbers of an answer to the segment that netfilter has just
    // dropped.
    firewall_while_full: ConntrackFull by LocalFirewall, Likely; when s::rejected_while_full; says s::say_rejected_while_full;
    firewall: FirewallReject by LocalFirewall, Certain; when s::firewall_seen; says s::say_firewall;
    firewall_inferred: FirewallReject by LocalFirewall, Likely; when s::firewall; says s::say_firewall;

    // Sent, in answer to a segment of a live connection.
    untranslated: NatUntranslated by LocalKernel, Certain; when s::untranslated; says s::say_untranslated;

    // Sent, in answer to a segment of a handshake.
    refused: Refused by LocalKernel, Certain; when s::refused; says |_| "SYN arrived for a port on which nothing listens".into();
    queue_full: ListenOverflow by LocalKernel, Certain; when s::queue_full; says |_| "the handshake's last ACK found the accept queue full (tcp_abort_on_overflow=1)".into();
    child_failed: ListenOverflow by LocalKernel, Likely; when s::child_failed; says |_| "the handshake's last ACK could not create a connection; the accept queue has room again".into();
    bad_syn: InvalidHandshake by LocalKernel, Certain; when s::bad_handshake; says s::say_handshake;
    bad_last_ack: InvalidHandshake by LocalKernel, Likely; when s::bad_last_ack; says |_| "the handshake's last ACK did not match this listener's SYN-ACK".into();
    unexpected_syn_ack: InvalidHandshake by LocalKernel, Likely; when s::unexpected_syn_ack; says |_| "SYN-ACK arrived for a connection that this host is not opening".into();
    mptcp: Mptcp by LocalKernel, Certain; when s::mptcp; says |_| "the kernel reset an MPTCP subflow".into();
    mptcp_fastclose: Mptcp by LocalKernel, Likely; when s::mptcp_fastclose; says |_| "a live subflow was closed with data unread, as MPTCP fast close does".into();

    subflow_reset: Mptcp by LocalKernel, Likely; when s::subflow_reset; says |_| "the kernel reset a live MPTCP subflow".into();

    // Sent from a live socket: the reset itself ends the connection.
    out_of_memory: ResourceLimit by LocalKernel, Certain; when s::out_of_memory; says |_| "the kernel reached its limit of TCP memory (tcp_mem) or orphans (tcp_max_orphans)".into();
    keepalive_while_full: ConntrackFull by LocalKernel, Likely; when s::keepalive_while_full; says s::say_timed_out_while_full;
    keepalive: KeepaliveTimeout by LocalKernel, Certain; when s::keepalive; says |_| "keepalive or TCP_USER_TIMEOUT expired without an answer from the peer".into();
    fin_wait_expired: Unknown by LocalKernel, Likely; when s::fin_wait_expired; says |_| "this host had closed, and no FIN arrived within tcp_fin_timeout; or the orphaned socket was destroyed".into();
    destroyed: AdminAbort by LocalKernel, Certain; when s::destroyed; says s::say_destroyed;
    killed: ProcessDied by LocalApp, Certain; when s::died_aborting; says s::say_exit;
    exited: ProcessDied by LocalApp, Likely; when s::exited_aborting; says s::say_exit;
    unread_on_close: UnreadData by LocalApp, Certain; when s::unread; says s::say_unread;
    never_accepted: ListenerClosed by LocalApp, Certain; when s::never_accepted; says |_| "the listener closed while this connection waited in its accept queue".into();
    linger_zero: LingerAbort by LocalApp, Certain; when s::linger; says |_| "close() with SO_LINGER on and a timeout of zero, or a negative TCP_LINGER2".into();
    disconnected: LingerAbort by LocalApp, Likely; when s::disconnected; says |_| "the program disconnected a live socket (connect(AF_UNSPEC) or an equivalent call)".into();

    // Sent, in answer to a segment of a connection that had ended here: what ended it is the cause.
    linger2: LingerAbort by LocalKernel, Certain; when s::linger2; says |_| "the peer acknowledged this host's FIN; a negative TCP_LINGER2 ends the socket there".into();
    after_close_overflow: ListenOverflow by LocalKernel, Certain; when a::after_close_overflow; says |_| "segment of a handshake that failed on a full accept queue".into();
    after_close_killed: ProcessDied by LocalKernel, Certain; when a::after_close_killed; says s::say_exit;
    after_close_exited: ProcessDied by LocalKernel, Likely; when a::after_close_exited; says s::say_exit;
    after_close_while_full: ConntrackFull by LocalKernel, Likely; when a::after_close_while_full; says s::say_timed_out_while_full;
    after_close_timed_out: KeepaliveTimeout by LocalKernel, Likely; when a::after_close_timed_out; says a::say_timed_out;
    after_close_out_of_memory: ResourceLimit by LocalKernel, Certain; when a::after_close_out_of_memory; says a::say_aborted;
    after_close_unread: UnreadData by LocalKernel, Certain; when a::after_close_unread; says a::say_aborted;
    after_close_never_accepted: ListenerClosed by LocalKernel, Certain; when a::after_close_never_accepted; says a::say_aborted;
    after_close_linger: LingerAbort by LocalKernel, Certain; when a::after_close_linger; says a::say_aborted;
    after_close_disconnected: LingerAbort by LocalKernel, Likely; when a::after_close_disconnected; says a::say_aborted;
    after_close_keepalive: KeepaliveTimeout by LocalKernel, Certain; when a::after_close_keepalive; says a::say_aborted;
    after_close_destroyed: AdminAbort by LocalKernel, Certain; when a::after_close_destroyed; says a::say_aborted;
    closed_when_idle: IdleReaped by LocalKernel, Certain; when a::closed_when_idle; says a::say_closed;
    closed_unsampled: Unknown by LocalKernel, Likely; when a::closed_unsampled; says |_| "this host sent a short message after an idle period and closed: a closing message, or a late response".into();
    closed_with_closing_message: IdleReaped by LocalKernel, Likely; when a::closed_with_closing_message; says a::say_closed;
    gave_up_or_closed: DataAfterClose by LocalKernel, Likely; when a::gave_up_or_closed; says a::say_closed;
    closed_then_data: DataAfterClose by LocalKernel, Certain; when a::closed_then_data; says a::say_closed;
    half_closed_then_data: DataAfterClose by LocalKernel, Likely; when a::half_closed_then_data; says a::say_closed;
    data_after_close: DataAfterClose by LocalKernel, Likely; when a::data_after_close; says |_| "data arrived after this host had closed; the idle time before the close was not seen".into();
    resumed_after_reject: FirewallReject by LocalKernel, Likely; when a::resumed_after_reject; says |_| "a firewall on this host had ended the connection with an RST; the peer still sends".into();
    resumed_after_idle: MiddleboxIdle by LocalKernel, Likely; when a::resumed_after_idle; says a::say_resumed;
    resumed: MiddleboxInjected by LocalKernel, Likely; when a::resumed; says a::say_resumed;
    tail: Unknown by LocalKernel, Likely; when a::tail; says a::say_tail;
    unknown_here: NoSuchConnection by LocalKernel, Likely; when a::unknown_here; says a::say_unknown_here;

    // Received, in answer to this host's SYN.
    refused_nearby: Refused by UnknownSender, Likely; when r::refused_nearby; says r::say_refused_nearby;
    connect_refused: Refused by Peer, Likely; when r::refused; says |_| "the RST answered this host's SYN: nothing listens there, or a firewall rejects".into();

    // Received, not sent by the peer's stack.
    peers_firewall: FirewallReject by Peer, Guess; when r::peers_firewall; says |_| "the RST came from the peer's host, yet the peer's stack still sends: a firewall rule there".into();
    path_dropped_state: MiddleboxIdle by Middlebox, Likely; when r::middlebox_idle; says r::say_middlebox;
    path_rejected: FirewallReject by Middlebox, Guess; when r::middlebox_reject; says r::say_middlebox;
    path_injected: MiddleboxInjected by Middlebox, Likely; when r::middlebox; says r::say_middlebox;

    // Received, together with resets of other connections to the same server.
    ended_together: ProcessDied by Peer, Guess; when r::ended_together; says r::say_ended_together;

    // Received after the peer's FIN.
    unsampled_closing_message: Unknown by Peer, Guess; when r::unsampled_closing_message; says |_| "the peer sent a short message after an idle period and closed: a closing message, or a late response; then this host wrote".into();
    reused_after_fin: IdleReaped by Peer, Likely; when r::reused_after_fin; says r::say_fin;
    wrote_after_fin: DataAfterClose by Peer, Likely; when r::wrote_after_fin; says r::say_fin;
    half_closed_unread: UnreadData by Peer, Likely; when r::half_closed_unread; says |_| "the peer closed its side, then aborted with data from this host outstanding".into();
    half_closed_aborted: LingerAbort by Peer, Guess; when r::half_closed_aborted; says |_| "the peer closed its side, then aborted; nothing from this host was outstanding".into();
    fin_to_unknown_connection: Unknown by Peer, Likely; when r::fin_to_unknown_connection; says |_| "this host's FIN reached a stack that had closed and forgotten the connection: no data was lost".into();

    peer_did_not_linger: LingerAbort by Peer, Guess; when r::peer_did_not_linger; says |_| "the peer closed, and its stack forgot the connection at once: a negative TCP_LINGER2".into();

    path_doubtful: Unknown by UnknownSender, Guess; when r::doubtful; says r::say_doubtful;

    // Received from a live socket of the peer (RST with ACK).
    peer_never_spoke: UnreadData by Peer, Guess; when r::peer_never_spoke; says |_| "the peer aborted without having sent data: it left this host's data unread, or never accepted the connection".into();
    peer_left_answer: UnreadData by Peer, Guess; when r::peer_left_answer; says |_| "the peer aborted soon after this host's last response: unread, or its usual way to close".into();
    peer_left_unread: UnreadData by Peer, Likely; when r::peer_left_unread; says r::say_unread;
    peer_cut_upload: UnreadData by Peer, Guess; when r::peer_cut_upload; says |_| "the peer answered a long upload and aborted, most likely before reading all of it".into();
    peer_gave_up_probing: KeepaliveTimeout by Peer, Guess; when r::peer_gave_up_probing; says |_| "the peer probed the idle connection with keepalives before it aborted: the answers may be lost on the path".into();
    peer_reaped_idle: IdleReaped by Peer, Guess; when r::peer_reaped_idle; says r::say_reaped;
    peer_left_unread_long: UnreadData by Peer, Guess; when r::peer_left_unread_long; says r::say_unread;
    peer_silent: Unknown by Peer, Guess; when r::peer_silent; says |_| "the peer aborted before any data was exchanged: it never accepted the connection, or closed it at once".into();
    peer_aborted: LingerAbort by Peer, Guess; when r::peer_aborted; says |_| "the peer aborted a live connection; nothing from this host was outstanding: SO_LINGER with a timeout of zero, or destroyed from outside".into();

    // Received from a stack that does not know the connection (bare RST), without an earlier FIN.
    never_completed: ListenOverflow by Peer, Guess; when r::never_completed; says |_| "the peer answered the SYN, acknowledged no data, and then did not know the connection: most likely its accept queue was full".into();
    unexplained: Unknown by UnknownSender, Guess; when r::unexplained; says r::say_unexplained;
    handshake_only: Unknown by Peer, Guess; when r::handshake_only; says |_| "the peer's stack dropped the connection right after the handshake: a full accept queue, or a proxy without a backend".into();
    reused_idle: IdleReaped by Peer, Guess; when r::reused_idle; says r::say_reused_idle;
    pushed_after_idle: Unknown by Peer, Guess; when r::pushed_after_idle; says |_| "data sent after an idle period reached a stack that does not know the connection: the client closed unnoticed or restarted, or a device lost its state".into();
    forgotten: NoSuchConnection by Peer, Likely; when r::forgotten; says |_| "the peer's stack does not know this connection: restart, failover, or lost NAT state".into();
}
