//! How the Kubernetes API is, where it is asked.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::counter;
use crate::identity::kubernetes::Snapshot;

/// Everything of one look.
pub(super) fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "1 if the watch of this node's pods is in sync, 0 if it is not: pods that are new have no names then.";
    gauge(encoder, "kubernetes_up", help, u64::from(snapshot.up))?;
    let help = "Pods of this node that the Kubernetes API has told of and that are not deleted.";
    gauge(encoder, "kubernetes_pods", help, count(snapshot.pods))?;
    let help = "Errors of the Kubernetes API: no connection or answer, not allowed, too old and listed again, unreadable, any other.";
    let mut family = encoder.encode_descriptor("kubernetes_errors", help, None, MetricType::Counter)?;
    for (kind, count) in snapshot.errors {
        counter(&mut family, &[("kind", kind.as_str())], count)?;
    }
    let help = "Pods of this node, and addresses of others, that there was no room for: they have no names.";
    let mut family = encoder.encode_descriptor("kubernetes_refused", help, None, MetricType::Counter)?;
    counter(&mut family, &[("what", "pod")], snapshot.pods_refused)?;
    let Some((held, refused)) = snapshot.addresses else { return Ok(()) };
    counter(&mut family, &[("what", "address")], refused)?;
    let help = "Addresses in the cluster with the name of a pod, service or node.";
    gauge(encoder, "kubernetes_addresses", help, count(held))
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn count(held: usize) -> u64 {
    u64::try_from(held).unwrap_or(u64::MAX)
}
