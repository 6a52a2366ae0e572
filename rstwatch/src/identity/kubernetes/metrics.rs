//! Metrics about the use of the Kubernetes API, exported only if the agent uses it.

use std::fmt;

use super::Snapshot;
use crate::metric::{Family, Label, Writer};

const KIND: Label = Label::new(
    "kind",
    "`connect`: no connection or no response; `forbidden`: not authorized; `gone`: the watch's resource version had expired (410) and the agent listed again; `decode`: invalid response; `other`: anything else",
);
const WHAT: Label = Label::new("what", "`pod`: a pod on this node; `address`: an address elsewhere in the cluster");

/// The state of the watches, and the number of objects learnt from them.
pub const FAMILIES: &[Family<Snapshot>] = &[
    Family::gauge(
        "kubernetes_up",
        "1 if the watch of this node's pods (Kubernetes API) is in sync, else 0; new pods are not named while it is 0.",
        |it, out| out.gauge(Some(u64::from(it.up))),
    ),
    Family::gauge("kubernetes_pods", "Pods on this node that the agent knows from the Kubernetes API.", |it, out| {
        out.gauge(Some(number(it.pods)))
    }),
    Family::counter(
        "kubernetes_errors",
        "Failed Kubernetes API requests and watches since the agent started, by kind.",
        errors,
    )
    .labels(&[KIND]),
    Family::counter(
        "kubernetes_refused",
        "Pods on this node and addresses in the cluster that the agent did not store because its limit was reached, since the agent started; they are not named.",
        refused,
    )
    .labels(&[WHAT]),
    Family::gauge(
        "kubernetes_addresses",
        "Addresses in the cluster that the agent can name as a pod, service or node.",
        |it, out| out.gauge(it.addresses.map(|(known, _)| number(known))),
    ),
];

fn errors(snapshot: &Snapshot, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    for (kind, count) in snapshot.errors {
        samples.count(&[kind.as_str()], count)?;
    }
    Ok(())
}

fn refused(snapshot: &Snapshot, out: Writer<'_, '_>) -> fmt::Result {
    let mut samples = out.samples()?;
    samples.count(&["pod"], snapshot.pods_refused)?;
    snapshot.addresses.map_or(Ok(()), |(_, refused)| samples.count(&["address"], refused))
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
