//! Stage 4: one reset with its verdict, as users see it (one JSON object a line).
//!
//! A value that was not seen is `None`/null, never 0.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use crate::cause::{Candidates, Cause, Confidence, Direction, Sender};
use crate::text::Sentence;

/// Unread bytes up to this number may be the peer's last message, such as an error; more show that this host had not kept
/// up with reading.
pub(crate) const LAST_MESSAGE: u32 = 8 * 1024;

/// One reset, classified. The field order is the JSON order.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When the kernel processed the RST, RFC 3339 in UTC with microseconds.
    pub time: jiff::Timestamp,
    /// Host name, or `--node-name`.
    pub node: Arc<str>,
    /// Whether this host's stack emitted or accepted the RST.
    pub direction: Direction,
    /// Why the connection was reset.
    pub cause: Cause,
    /// Who emitted the RST.
    pub sender: Sender,
    /// How sure the cause is.
    pub confidence: Confidence,
    /// How sure the sender is.
    pub sender_confidence: Confidence,
    /// The causes that remain, at most five, the most plausible first. A cause has itself alone, a family those of its
    /// members that remain; empty for `unknown`.
    pub candidates: Candidates,
    /// The evidence in short sentences.
    pub because: Vec<Sentence>,
    /// The observation that would narrow the verdict, if several causes or senders remain.
    pub decide: Option<String>,
    /// Address family of the packets (`ipv4` for v4-mapped sockets).
    pub family: Family,
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Which end this host was.
    pub role: Role,
    /// The kernel's name of the TCP state before the reset, without `TCP_`.
    pub state: Option<&'static str>,
    /// The kernel's `sk_rst_reason` by name, without `SK_RST_REASON_`.
    pub kernel_reason: Option<Arc<str>>,
    /// How long the connection was idle before the operation that was reset, or before the reset itself.
    pub idle_ms: Option<u64>,
    /// Time since the connection was established.
    pub age_ms: Option<u64>,
    /// Payload bytes sent, retransmissions included (`tcp_sock.bytes_sent`).
    pub bytes_sent: Option<u64>,
    /// Payload bytes received in order (`tcp_sock.bytes_received`).
    pub bytes_received: Option<u64>,
    /// Bytes sent that the peer had not acknowledged.
    pub unacked_bytes: Option<u32>,
    /// Bytes received that the application had not read.
    pub unread_bytes: Option<u32>,
    /// Well-known idle timeouts that fit `idle_ms`.
    pub timeout_candidates: Vec<TimeoutCandidate>,
    /// The RST segment, as far as it is known.
    pub rst: Option<Rst>,
    /// The process that owned the socket.
    pub process: Option<Process>,
    /// The workload that owned the socket.
    pub workload: Option<Workload>,
    /// The owner of the other end's address in the cluster.
    pub remote_workload: Option<Arc<RemoteWorkload>>,
    /// What the reset only follows, if it is a late consequence. For advice; `because` says it in words.
    #[serde(skip)]
    pub follows: Option<Follows>,
}

/// What a reset follows that answers a late segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// An RST that this host received had ended the connection.
    Rst {
        /// The sender of that RST.
        sender: Sender,
    },
    /// This host had given up connecting.
    GivingUp {
        /// How long before the SYN-ACK, in milliseconds.
        ago_ms: u64,
    },
}

impl Event {
    /// A verdict on an IPv4 connection, with nothing optional seen.
    pub fn bare(direction: Direction, cause: Cause, sender: Sender, confidence: Confidence) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            time: jiff::Timestamp::UNIX_EPOCH,
            node: Arc::default(),
            direction,
            cause,
            sender,
            confidence,
            sender_confidence: confidence,
            candidates: [cause].into(),
            because: Vec::new(),
            decide: None,
            family: Family::Ipv4,
            local: nowhere,
            remote: nowhere,
            netns: 0,
            role: Role::Unknown,
            state: None,
            kernel_reason: None,
            idle_ms: None,
            age_ms: None,
            bytes_sent: None,
            bytes_received: None,
            unacked_bytes: None,
            unread_bytes: None,
            timeout_candidates: Vec::new(),
            rst: None,
            process: None,
            workload: None,
            remote_workload: None,
            follows: None,
        }
    }

    /// Who ended the connection: the sender of the RST, or of the RST before it.
    pub fn ended_by(&self) -> Sender {
        match self.follows {
            Some(Follows::Rst { sender }) => sender,
            _ => self.sender,
        }
    }
}

/// Address family of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, v4-mapped sockets included.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// Which end of the connection this host was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It called connect().
    Client,
    /// It accepted the connection, or would have.
    Server,
    /// The connection is older than the agent, or was never established.
    Unknown,
}

/// A well-known idle timeout that fits what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeoutCandidate {
    /// The timeout in seconds.
    pub seconds: u32,
    /// The product with this default.
    pub who: String,
}

/// What is known of the RST segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rst {
    /// TTL or hop limit on arrival.
    pub ttl: Option<u8>,
    /// TTL or hop limit of the peer's genuine packets (its handshake).
    pub ttl_expected: Option<u8>,
    /// TCP flags, as in `RA`, `R`.
    pub flags: Option<Cow<'static, str>>,
    /// Sequence number.
    pub seq: Option<u32>,
    /// Acknowledgement number; null without ACK.
    pub ack: Option<u32>,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// Advertised window, unscaled.
    pub window: Option<u16>,
    /// Whether it carried the timestamp option.
    pub timestamps: Option<bool>,
    /// Microseconds since our oldest unacknowledged data. Less than half a round trip is too soon for an answer of the
    /// peer.
    pub delay_us: Option<u64>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Thread-group id in the initial PID namespace.
    pub pid: u32,
    /// Its command name, with control characters escaped.
    pub comm: Arc<str>,
}

/// The owner of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Workload {
    /// The kind of owner.
    pub kind: WorkloadKind,
    /// Kubernetes namespace.
    pub namespace: Option<Arc<str>>,
    /// Pod, container, unit or process name.
    pub name: Arc<str>,
    /// Container name or id.
    pub container: Option<Arc<str>>,
    /// The controller of the pod; metrics count under its name.
    pub controller: Option<Controller>,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Controller {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, or another kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// The kind of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadKind {
    /// A Kubernetes pod.
    Pod,
    /// A container without Kubernetes.
    Container,
    /// A systemd unit.
    Unit,
    /// A process without any of these.
    Process,
}

impl WorkloadKind {
    /// The word in JSON and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Unit => "unit",
            Self::Process => "process",
        }
    }
}

/// The owner of the other end's address in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteWorkload {
    /// The kind of object.
    pub kind: RemoteKind,
    /// Its namespace; null for a node.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

/// A kind of object with an address in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteKind {
    /// A pod with an address of its own.
    Pod,
    /// A service, by a virtual address for its pods.
    Service,
    /// A node, or a pod in its network.
    Node,
}

impl RemoteKind {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Node => "node",
        }
    }
}
