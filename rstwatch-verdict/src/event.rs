//! Stage 4: one reset with its verdict, as users see it (one JSON object a line).
//!
//! A value that was not seen is `None`/null, never 0.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use crate::cause::{Cause, Confidence, Direction, Sender};

/// One reset, classified. The field order is the JSON order.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When the kernel saw it, RFC 3339 in UTC with microseconds.
    pub time: jiff::Timestamp,
    /// Host name, or `--node-name`.
    pub node: Arc<str>,
    /// Whether this host's stack emitted or accepted the RST.
    pub direction: Direction,
    /// Our verdict.
    pub cause: Cause,
    /// Who emitted the RST.
    pub sender: Sender,
    /// How sure the verdict is.
    pub confidence: Confidence,
    /// The evidence, as short sentences.
    pub because: Vec<String>,
    /// Address family of the packets (v4-mapped sockets speak `ipv4`).
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
    /// How long the connection was quiet before the operation that met the reset, or until the reset itself.
    pub idle_ms: Option<u64>,
    /// Since the connection was established.
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
    /// The RST itself, or what is known of it.
    pub rst: Option<Rst>,
    /// The process that owned the socket.
    pub process: Option<Process>,
    /// Whose it was.
    pub workload: Option<Workload>,
    /// Who has the other end's address in the cluster.
    pub remote_workload: Option<Arc<RemoteWorkload>>,
}

impl Event {
    /// A verdict between two ends of IPv4, of which nothing optional was seen.
    pub fn bare(direction: Direction, cause: Cause, sender: Sender, confidence: Confidence) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            time: jiff::Timestamp::UNIX_EPOCH,
            node: Arc::default(),
            direction,
            cause,
            sender,
            confidence,
            because: Vec::new(),
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
    /// It accepted, or would have.
    Server,
    /// Older than the agent, or never a connection.
    Unknown,
}

/// A well-known idle timeout that fits what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeoutCandidate {
    /// The timeout.
    pub seconds: u32,
    /// Who has it by default.
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
    pub flags: Option<String>,
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
    /// Since the last data that we sent (microseconds): sooner than half the round trip is no answer of the peer.
    pub delay_us: Option<u64>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Thread-group id in the initial PID namespace.
    pub pid: u32,
    /// Its command name; control characters are escaped.
    pub comm: String,
}

/// Whose connection it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Workload {
    /// What sort of owner.
    pub kind: WorkloadKind,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Pod, container, unit or process name.
    pub name: String,
    /// Container name or id.
    pub container: Option<String>,
    /// What made the pod; metrics are counted under its name.
    pub controller: Option<Controller>,
}

/// What a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Controller {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, or another kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What sort of owner a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadKind {
    /// A Kubernetes pod.
    Pod,
    /// A container without Kubernetes.
    Container,
    /// A systemd unit.
    Unit,
    /// A bare process.
    Process,
}

impl WorkloadKind {
    /// As in JSON and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Unit => "unit",
            Self::Process => "process",
        }
    }
}

/// Who has the other end's address in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteWorkload {
    /// What it is.
    pub kind: RemoteKind,
    /// Its namespace; null for a node.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

/// What may have an address in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteKind {
    /// A pod with an address of its own.
    Pod,
    /// A service, by an address that stands for its pods.
    Service,
    /// A node, or a pod in its network.
    Node,
}

impl RemoteKind {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Node => "node",
        }
    }
}
