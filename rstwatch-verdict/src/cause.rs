//! The vocabulary of verdicts: causes, senders, confidences, directions.
//!
//! *Reason* is the kernel's word (`sk_rst_reason`); *cause* is ours. They never mix.
//! What each cause means and how to mend it stands in [`crate::explain`].

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Declares an enum whose variants have one fixed word each: in JSON, in labels, on the command line.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The fixed word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    format!("{word:?} is none of: {}", all.join(", "))
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why the connection was reset.
    Cause {
        /// RST answered a SYN: nothing listens.
        Refused = "refused",
        /// First operation after an idle gap met a connection that the other side had already closed.
        IdleReaped = "idle_reaped",
        /// A device on the path dropped its state for a quiet connection and reset it.
        MiddleboxIdle = "middlebox_idle",
        /// A device on the path reset a busy connection in the peer's name.
        MiddleboxInjected = "middlebox_injected",
        /// The owner of the socket crashed, was killed, or exited with connections open.
        ProcessDied = "process_died",
        /// The server stopped with unaccepted connections in its queue.
        ListenerClosed = "listener_closed",
        /// close() with received data unread.
        UnreadData = "unread_data",
        /// Data arrived after the receiver had closed, without an idle gap.
        DataAfterClose = "data_after_close",
        /// SO_LINGER 0 or an equivalent deliberate abort.
        LingerAbort = "linger_abort",
        /// Socket destroyed from outside (ss -K, SOCK_DESTROY, an agent).
        AdminAbort = "admin_abort",
        /// A netfilter rule rejected with tcp reset.
        FirewallReject = "firewall_reject",
        /// Accept queue full.
        ListenOverflow = "listen_overflow",
        /// Conntrack table full, or entry evicted, while the connection died.
        ConntrackFull = "conntrack_full",
        /// Keepalive or user timeout ended it.
        KeepaliveTimeout = "keepalive_timeout",
        /// A mid-life segment met a stack that does not know the connection.
        NoSuchConnection = "no_such_connection",
        /// Orphan or TCP memory limit.
        ResourceLimit = "resource_limit",
        /// Bad ACK or SYN in a handshake, stale duplicate, port reuse.
        InvalidHandshake = "invalid_handshake",
        /// MPTCP subflow reset.
        Mptcp = "mptcp",
        /// The evidence does not decide.
        Unknown = "unknown",
        /// Counted in the kernel, but its event was not delivered.
        Unsampled = "unsampled",
    }
}

words! {
    /// Who emitted the RST.
    Sender {
        /// A program of this host, by its own call (close, exit) on a live socket.
        LocalApp = "local_app",
        /// This host's stack, answering a segment or ending a connection by itself.
        LocalKernel = "local_kernel",
        /// This host's netfilter.
        LocalFirewall = "local_firewall",
        /// The other end.
        Peer = "peer",
        /// A device between the ends.
        Middlebox = "middlebox",
        /// The evidence does not decide.
        Unknown = "unknown",
    }
}

words! {
    /// How sure a verdict is.
    Confidence {
        /// The kernel said so, or both ends were seen.
        Certain = "certain",
        /// The evidence agrees.
        Likely = "likely",
        /// The commonest explanation of thin evidence.
        Guess = "guess",
    }
}

words! {
    /// Which way the RST went.
    Direction {
        /// This host's stack or firewall emitted it.
        Sent = "sent",
        /// This host's socket accepted it.
        Received = "received",
    }
}
