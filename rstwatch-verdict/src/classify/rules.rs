//! The table of rules, in order. Each line is one way in which a connection is reset; [`classify`](super) explains the
//! order.

use super::{after_close as a, candidates as c, received as r, sent as s};
use crate::cause::Cause::{
    AdminAbort, ConntrackFull, DataAfterClose, FirewallReject, IdleReaped, InvalidHandshake, KeepaliveTimeout,
    LingerAbort, ListenOverflow, ListenerClosed, MiddleboxIdle, MiddleboxInjected, Mptcp, NatUntranslated,
    NoSuchConnection, PeerAbort, Probe, ProcessDied, Refused, ResourceLimit, Unknown, UnreadData,
};
use crate::cause::Confidence::{Certain, Guess, Likely};
use crate::cause::{Cause, Confidence};
use crate::evidence::Evidence;
use crate::text::Sentence;
use By::{LocalApp, LocalFirewall, LocalKernel, Signs};

/// What says who sent the RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A program of this host.
    LocalApp,
    /// This host's stack.
    LocalKernel,
    /// This host's netfilter.
    LocalFirewall,
    /// The signs in the RST (module `sender`).
    Signs,
}

/// One rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Fixed, unique name.
    pub id: &'static str,
    /// Its verdict: a cause, or the family of those that remain.
    pub cause: Cause,
    /// The causes that remain, if it is a family.
    pub among: Option<fn(&Evidence) -> Vec<Cause>>,
    /// What says who sent the RST.
    pub by: By,
    /// How sure the cause is.
    pub confidence: Confidence,
    /// Whether it applies.
    pub when: fn(&Evidence) -> bool,
    /// The evidence, in one sentence for users.
    pub says: fn(&Evidence) -> Sentence,
}

macro_rules! among {
    () => {
        None
    };
    ($among:expr) => {
        Some($among)
    };
}

macro_rules! rules {
    ($($id:ident: $cause:ident by $by:ident, $confidence:ident; when $when:expr; $(among $among:expr;)? says $($says:path)? $(|_| $text:expr)?;)+) => {
        /// All rules; the first that applies decides.
        pub const RULES: &[Rule] = &[$(Rule {
            id: stringify!($id),
            cause: $cause,
            among: among!($($among)?),
            by: $by,
            confidence: $confidence,
            when: $when,
            says: $(|evidence| $says(evidence).into())? $(|_| $text)?,
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
    abandoned_connect: InvalidHandshake by LocalKernel, Certain; when s::abandoned_connect; says s::say_abandoned;
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
    exit_unclear: ProcessDied by LocalApp, Likely; when s::exit_unclear; among c::exit_unclear; says s::say_exit;
    exited: ProcessDied by LocalApp, Likely; when s::exited_aborting; says s::say_exit;
    unread_on_close: UnreadData by LocalApp, Certain; when s::unread; says s::say_unread;
    never_accepted: ListenerClosed by LocalApp, Certain; when s::never_accepted; says |_| "the listener closed while this connection waited in its accept queue".into();
    probe: Probe by LocalApp, Certain; when s::probe; says |_| "this host opened the connection and aborted it before any payload, as health checks do".into();
    idle_abort: IdleReaped by LocalApp, Likely; when s::idle_abort; among c::idle_abort; says s::say_idle_abort;
    linger_unclear: LingerAbort by LocalApp, Likely; when s::linger_unclear; among c::linger_unclear; says s::say_linger_unclear;
    linger_zero: LingerAbort by LocalApp, Certain; when s::linger; says s::say_linger;
    disconnected: LingerAbort by LocalApp, Likely; when s::disconnected; says |_| "the program disconnected a live socket (connect(AF_UNSPEC) or an equivalent call)".into();

    // Sent, in answer to a segment of a connection that had ended here: what ended it is the cause.
    linger2: LingerAbort by LocalKernel, Certain; when s::linger2; says |_| "the peer acknowledged this host's FIN; a negative TCP_LINGER2 ends the socket there".into();
    after_close_overflow: ListenOverflow by LocalKernel, Certain; when a::after_close_overflow; says |_| "segment of a handshake that failed on a full accept queue".into();
    after_close_killed: ProcessDied by LocalKernel, Certain; when a::after_close_killed; says s::say_exit;
    closed_unseen: NoSuchConnection by LocalKernel, Likely; when a::closed_unseen; among c::closed_here; says a::say_closed;
    after_close_exit_unclear: NoSuchConnection by LocalKernel, Likely; when a::after_close_exit_unclear; among c::exit_unclear; says s::say_exit;
    after_close_exited: ProcessDied by LocalKernel, Likely; when a::after_close_exited; says s::say_exit;
    after_close_while_full: ConntrackFull by LocalKernel, Likely; when a::after_close_while_full; says s::say_timed_out_while_full;
    after_close_timed_out: KeepaliveTimeout by LocalKernel, Likely; when a::after_close_timed_out; says a::say_timed_out;
    after_close_out_of_memory: ResourceLimit by LocalKernel, Certain; when a::after_close_out_of_memory; says a::say_aborted;
    after_close_unread: UnreadData by LocalKernel, Certain; when a::after_close_unread; says a::say_aborted;
    after_close_never_accepted: ListenerClosed by LocalKernel, Certain; when a::after_close_never_accepted; says a::say_aborted;
    after_close_probe: Probe by LocalKernel, Certain; when a::after_close_probe; says a::say_aborted;
    after_close_idle_abort: IdleReaped by LocalKernel, Likely; when a::after_close_idle_abort; among c::idle_abort; says a::say_aborted;
    after_close_linger_unclear: LingerAbort by LocalKernel, Likely; when a::after_close_linger_unclear; among c::linger_unclear; says a::say_aborted;
    after_close_linger: LingerAbort by LocalKernel, Certain; when a::after_close_linger; says a::say_aborted;
    after_close_disconnected: LingerAbort by LocalKernel, Likely; when a::after_close_disconnected; says a::say_aborted;
    after_close_keepalive: KeepaliveTimeout by LocalKernel, Certain; when a::after_close_keepalive; says a::say_aborted;
    after_close_destroyed: AdminAbort by LocalKernel, Certain; when a::after_close_destroyed; says a::say_aborted;
    closed_when_idle: IdleReaped by LocalKernel, Certain; when a::closed_when_idle; says a::say_closed;
    closed_unsampled: NoSuchConnection by LocalKernel, Likely; when a::closed_unsampled; among c::closed_here_unsampled; says |_| "this host sent something after the client had been silent, and closed: a closing message, or the end of a response".into();
    closed_with_closing_message: IdleReaped by LocalKernel, Likely; when a::closed_with_closing_message; among c::closed_idle_here; says a::say_closed;
    gave_up_or_closed: NoSuchConnection by LocalKernel, Likely; when a::gave_up_or_closed; among c::gave_up_or_closed; says a::say_closed;
    closed_likely_in_use: DataAfterClose by LocalKernel, Likely; when a::closed_likely_in_use; says a::say_closed;
    closed_then_data: DataAfterClose by LocalKernel, Certain; when a::closed_then_data; says a::say_closed;
    half_closed_then_data: DataAfterClose by LocalKernel, Likely; when a::half_closed_then_data; says a::say_closed;
    data_after_close: NoSuchConnection by LocalKernel, Likely; when a::data_after_close; among c::closed_here; says |_| "data arrived after this host had closed; the idle time before the close was not seen".into();
    resumed_after_reject: FirewallReject by LocalKernel, Likely; when a::resumed_after_reject; says |_| "a firewall on this host had ended the connection with an RST; the peer still sends".into();
    resumed_after_idle: MiddleboxIdle by LocalKernel, Likely; when a::resumed_after_idle; says a::say_resumed;
    resumed: MiddleboxInjected by LocalKernel, Likely; when a::resumed; says a::say_resumed;
    tail_of_reset: Unknown by LocalKernel, Likely; when a::tail_of_reset; says a::say_tail_of_reset;
    tail_when_idle: IdleReaped by LocalKernel, Likely; when a::tail_when_idle; among c::closed_idle_here; says a::say_tail;
    tail_unclear: NoSuchConnection by LocalKernel, Likely; when a::tail_unclear; among c::gave_up_or_closed; says a::say_tail;
    tail: DataAfterClose by LocalKernel, Likely; when a::tail; says a::say_tail;
    unknown_here: NoSuchConnection by LocalKernel, Likely; when a::unknown_here; among c::unknown_here; says a::say_unknown_here;

    // Received, in answer to this host's SYN.
    connect_refused: Refused by Signs, Likely; when r::refused; among c::refused; says r::say_refused;

    // Received from a device on the path.
    device_rejected_idle: MiddleboxInjected by Signs, Likely; when r::device_rejected_idle; among c::dropped_state; says r::say_device;
    device_dropped_state: MiddleboxIdle by Signs, Likely; when r::device_idle; says r::say_device;
    device_injected: MiddleboxInjected by Signs, Likely; when r::device; among c::injected; says r::say_device;

    // Received, together with resets of other connections to the same server.
    ended_together: NoSuchConnection by Signs, Likely; when r::ended_together; among c::ended_together; says r::say_ended_together;
    aborted_together: PeerAbort by Signs, Likely; when r::aborted_together; among c::aborted_together; says r::say_ended_together;

    // Received after the peer's FIN.
    unsampled_closing_message: NoSuchConnection by Signs, Likely; when r::unsampled_closing_message; among c::closing_or_response; says |_| "the peer sent something after this host had been silent, and closed: a closing message, or the end of a response; then this host wrote".into();
    closing_message_or_request: NoSuchConnection by Signs, Likely; when r::closing_message_or_request; among c::closing_or_response; says |_| "the peer sent something after this host had been silent, and closed at once: a closing message, or a request that it gave up; then this host wrote".into();
    reused_after_timer: IdleReaped by Signs, Likely; when r::reused_after_timer; among c::closed_by_timer; says r::say_fin;
    reused_after_fin: NoSuchConnection by Signs, Likely; when r::reused_after_fin; among c::closed_idle; says r::say_fin;
    wrote_after_fin: NoSuchConnection by Signs, Likely; when r::wrote_after_fin; among c::closed_busy; says r::say_fin;
    fin_to_unknown_connection: NoSuchConnection by Signs, Likely; when r::fin_to_unknown_connection; among c::both_closed; says |_| "this host's FIN reached a stack that had closed and forgotten the connection: no data was lost".into();
    peer_did_not_linger: NoSuchConnection by Signs, Likely; when r::peer_did_not_linger; among c::not_lingering; says |_| "the peer closed, and its stack forgot the connection at once, as with a negative TCP_LINGER2".into();

    // Received, with signs that conflict.
    open_continued: MiddleboxInjected by Signs, Guess; when r::open_continued; among c::injected; says r::say_open;
    open_abort: PeerAbort by Signs, Guess; when r::open_abort; among c::abort; says r::say_open;
    open_forgot: NoSuchConnection by Signs, Guess; when r::open_forgot; among c::forgot; says r::say_open;

    // Received from a live socket of the peer (RST with ACK).
    peer_probed_port: Probe by Signs, Likely; when r::peer_probed_port; says |_| "the client opened the connection and aborted it before any payload, as health checks and scanners do".into();
    peer_aborted: PeerAbort by Signs, Likely; when r::peer_aborted; among c::abort; says r::say_abort;

    // Received from a stack that does not know the connection (bare RST), without an earlier FIN.
    never_completed: NoSuchConnection by Signs, Likely; when r::never_completed; among c::never_completed; says |_| "the peer answered the SYN, acknowledged no data, and then did not know the connection, as with a full accept queue".into();
    forgotten: NoSuchConnection by Signs, Likely; when r::forgotten; among c::forgot; says r::say_forgotten;
}
