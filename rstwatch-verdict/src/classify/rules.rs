//! The table of rules, in order. Each line is one way for a connection to be reset.

use super::{after_close as a, received as r, sent as s};
use crate::cause::Cause::{
    AdminAbort, ConntrackFull, DataAfterClose, FirewallReject, IdleReaped, InvalidHandshake, KeepaliveTimeout,
    LingerAbort, ListenOverflow, ListenerClosed, MiddleboxIdle, MiddleboxInjected, Mptcp, NoSuchConnection,
    ProcessDied, Refused, ResourceLimit, Unknown, UnreadData,
};
use crate::cause::Confidence::{Certain, Guess, Likely};
use crate::cause::Sender::{LocalApp, LocalFirewall, LocalKernel, Middlebox, Peer, Unknown as UnknownSender};
use crate::cause::{Cause, Confidence, Sender};
use crate::evidence::Evidence;

/// One rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Fixed name, unique.
    pub id: &'static str,
    /// Its verdict.
    pub cause: Cause,
    /// Who sent the RST then.
    pub sender: Sender,
    /// How sure that is.
    pub confidence: Confidence,
    /// Whether it applies.
    pub when: fn(&Evidence) -> bool,
    /// The evidence in a sentence.
    pub says: fn(&Evidence) -> String,
}

macro_rules! rules {
    ($($id:ident: $cause:ident by $sender:ident, $confidence:ident; when $when:path; says $says:expr;)+) => {
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
    // netfilter. Inferred: the RST has the numbers of an answer to the segment that netfilter dropped just before.
    firewall_while_full: ConntrackFull by LocalFirewall, Likely; when s::rejected_while_full; says s::say_rejected_while_full;
    firewall: FirewallReject by LocalFirewall, Certain; when s::firewall_seen; says s::say_firewall;
    firewall_inferred: FirewallReject by LocalFirewall, Likely; when s::firewall; says s::say_firewall;

    // Sent, answering a segment that opens a connection.
    refused: Refused by LocalKernel, Certain; when s::refused; says |_| "a SYN met a port where nothing listens".into();
    queue_full: ListenOverflow by LocalKernel, Certain; when s::queue_full; says |_| "the handshake's last ACK met a full accept queue (tcp_abort_on_overflow=1)".into();
    child_failed: ListenOverflow by LocalKernel, Likely; when s::child_failed; says |_| "the handshake's last ACK could not become a connection; the accept queue has room again".into();
    bad_syn: InvalidHandshake by LocalKernel, Certain; when s::bad_handshake; says s::say_handshake;
    bad_last_ack: InvalidHandshake by LocalKernel, Likely; when s::bad_last_ack; says |_| "the last ACK of a handshake did not fit what this listener had answered".into();
    unexpected_syn_ack: InvalidHandshake by LocalKernel, Likely; when s::unexpected_syn_ack; says |_| "a SYN-ACK came for a connection that this host is not opening".into();
    mptcp: Mptcp by LocalKernel, Certain; when s::mptcp; says |_| "the kernel reset an MPTCP subflow".into();
    mptcp_fastclose: Mptcp by LocalKernel, Likely; when s::mptcp_fastclose; says |_| "a live subflow was closed with data unread, as MPTCP's fast close does".into();

    subflow_reset: Mptcp by LocalKernel, Likely; when s::subflow_reset; says |_| "the kernel reset a live MPTCP subflow".into();

    // Sent from a live socket: the end is now.
    out_of_memory: ResourceLimit by LocalKernel, Certain; when s::out_of_memory; says |_| "the kernel reached its limit of TCP memory or orphans".into();
    keepalive_while_full: ConntrackFull by LocalKernel, Likely; when s::keepalive_while_full; says s::say_timed_out_while_full;
    keepalive: KeepaliveTimeout by LocalKernel, Certain; when s::keepalive; says |_| "keepalive or user timeout expired without an answer".into();
    fin_wait_expired: Unknown by LocalKernel, Likely; when s::fin_wait_expired; says |_| "we had closed, and the peer sent no FIN within tcp_fin_timeout; or the orphan was destroyed".into();
    destroyed: AdminAbort by LocalKernel, Certain; when s::destroyed; says s::say_destroyed;
    killed: ProcessDied by LocalApp, Certain; when s::died_aborting; says s::say_exit;
    exited: ProcessDied by LocalApp, Likely; when s::exited_aborting; says s::say_exit;
    unread_on_close: UnreadData by LocalApp, Certain; when s::unread; says s::say_unread;
    never_accepted: ListenerClosed by LocalApp, Certain; when s::never_accepted; says |_| "the listener closed while this connection waited in its accept queue".into();
    linger_zero: LingerAbort by LocalApp, Certain; when s::linger; says |_| "close() with SO_LINGER on and zero time, or TCP_LINGER2 below zero".into();
    disconnected: LingerAbort by LocalApp, Likely; when s::disconnected; says |_| "the program disconnected a live socket (connect(AF_UNSPEC) or an equivalent abort)".into();

    // Sent, answering a segment of a connection whose end is remembered: the first cause counts.
    linger2: LingerAbort by LocalKernel, Certain; when s::linger2; says |_| "the peer acknowledged our FIN, and TCP_LINGER2 below zero ends the socket there".into();
    after_close_overflow: ListenOverflow by LocalKernel, Certain; when a::after_close_overflow; says |_| "the segment belongs to a handshake that a full accept queue ended".into();
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
    closed_unsampled: Unknown by LocalKernel, Likely; when a::closed_unsampled; says |_| "this side closed after a silence and a few last words: a goodbye, or a late answer".into();
    closed_with_closing_message: IdleReaped by LocalKernel, Likely; when a::closed_with_closing_message; says a::say_closed;
    gave_up_or_closed: DataAfterClose by LocalKernel, Likely; when a::gave_up_or_closed; says a::say_closed;
    closed_then_data: DataAfterClose by LocalKernel, Certain; when a::closed_then_data; says a::say_closed;
    half_closed_then_data: DataAfterClose by LocalKernel, Likely; when a::half_closed_then_data; says a::say_closed;
    data_after_close: DataAfterClose by LocalKernel, Likely; when a::data_after_close; says |_| "data came after this side had closed; how long it was idle before was not seen".into();
    resumed_after_reject: FirewallReject by LocalKernel, Likely; when a::resumed_after_reject; says |_| "a firewall had ended this connection here by an RST, and the peer sends on".into();
    resumed_after_idle: MiddleboxIdle by LocalKernel, Likely; when a::resumed_after_idle; says a::say_resumed;
    resumed: MiddleboxInjected by LocalKernel, Likely; when a::resumed; says a::say_resumed;
    tail: Unknown by LocalKernel, Likely; when a::tail; says a::say_tail;
    unknown_here: NoSuchConnection by LocalKernel, Likely; when a::unknown_here; says a::say_unknown_here;

    // Received, answering our SYN.
    refused_nearby: Refused by UnknownSender, Likely; when r::refused_nearby; says r::say_refused_nearby;
    connect_refused: Refused by Peer, Likely; when r::refused; says |_| "the RST answered our SYN: nothing listens there, or a firewall rejects".into();

    // Received, not made by the peer's stack.
    peers_firewall: FirewallReject by Peer, Guess; when r::peers_firewall; says |_| "the peer's host rejected our segment, yet the peer's stack sends on: a firewall rule there".into();
    path_dropped_state: MiddleboxIdle by Middlebox, Likely; when r::middlebox_idle; says r::say_middlebox;
    path_rejected: FirewallReject by Middlebox, Guess; when r::middlebox_reject; says r::say_middlebox;
    path_injected: MiddleboxInjected by Middlebox, Likely; when r::middlebox; says r::say_middlebox;

    // Received, together with others.
    ended_together: ProcessDied by Peer, Guess; when r::ended_together; says r::say_ended_together;

    // Received after the peer's FIN.
    unsampled_closing_message: Unknown by Peer, Guess; when r::unsampled_closing_message; says |_| "the peer closed after a silence and a few last words: a goodbye, or a late answer; then we wrote".into();
    reused_after_fin: IdleReaped by Peer, Likely; when r::reused_after_fin; says r::say_fin;
    wrote_after_fin: DataAfterClose by Peer, Likely; when r::wrote_after_fin; says r::say_fin;
    half_closed_unread: UnreadData by Peer, Likely; when r::half_closed_unread; says |_| "the peer had closed its side and aborted with our data under way".into();
    half_closed_aborted: LingerAbort by Peer, Guess; when r::half_closed_aborted; says |_| "the peer closed its side, then aborted, with nothing of ours under way".into();
    fin_to_unknown_connection: Unknown by Peer, Likely; when r::fin_to_unknown_connection; says |_| "our FIN met a connection that the peer had closed and forgotten: no data was lost".into();

    peer_did_not_linger: LingerAbort by Peer, Guess; when r::peer_did_not_linger; says |_| "the peer closed, and its stack forgot the connection at once: TCP_LINGER2 below zero".into();

    path_doubtful: Unknown by UnknownSender, Guess; when r::doubtful; says r::say_doubtful;

    // Received from a live socket of the peer's (RST with ACK).
    peer_never_spoke: UnreadData by Peer, Guess; when r::peer_never_spoke; says |_| "the peer aborted without having said anything: it closed with our data unread, or never accepted the connection".into();
    peer_left_answer: UnreadData by Peer, Guess; when r::peer_left_answer; says |_| "the peer aborted soon after our last answer: unread, or it always ends so".into();
    peer_left_unread: UnreadData by Peer, Likely; when r::peer_left_unread; says r::say_unread;
    peer_cut_upload: UnreadData by Peer, Guess; when r::peer_cut_upload; says |_| "the peer answered a long upload and aborted: it had most likely not read it all".into();
    peer_gave_up_probing: KeepaliveTimeout by Peer, Guess; when r::peer_gave_up_probing; says |_| "the peer probed a quiet connection with keepalives before it aborted: our answers may be lost on the way".into();
    peer_reaped_idle: IdleReaped by Peer, Guess; when r::peer_reaped_idle; says r::say_reaped;
    peer_left_unread_long: UnreadData by Peer, Guess; when r::peer_left_unread_long; says r::say_unread;
    peer_silent: Unknown by Peer, Guess; when r::peer_silent; says |_| "the peer aborted before a byte was exchanged: it never accepted the connection, or closed it at once".into();
    peer_aborted: LingerAbort by Peer, Guess; when r::peer_aborted; says |_| "the peer aborted a live connection with nothing of ours unacknowledged: SO_LINGER 0, or destroyed from outside".into();

    // Received from a stack that does not know the connection (bare RST), without a FIN before.
    never_completed: ListenOverflow by Peer, Guess; when r::never_completed; says |_| "the peer answered our SYN, acknowledged none of our data, and then did not know the connection: most likely it had no room to accept it".into();
    unexplained: Unknown by UnknownSender, Guess; when r::unexplained; says r::say_unexplained;
    handshake_only: Unknown by Peer, Guess; when r::handshake_only; says |_| "the peer's stack dropped the connection right after the handshake: a full accept queue, or a proxy without a backend".into();
    reused_idle: IdleReaped by Peer, Guess; when r::reused_idle; says r::say_reused_idle;
    pushed_after_idle: Unknown by Peer, Guess; when r::pushed_after_idle; says |_| "what we sent after a silence met a stack that does not know the connection: the client had closed it unheard, or restarted, or a device forgot it".into();
    forgotten: NoSuchConnection by Peer, Likely; when r::forgotten; says |_| "the peer's stack does not know this connection: restart, failover, or lost NAT state".into();
}
