//! Metrics of the Kubernetes API, exported only if the agent uses it.

use std::fmt;

use super::Snapshot;
use crate::metric::{Family, Label, Writer};

const KIND: Label = Label::new(
    "kind",
    "`connect`: no connection or no response; `forbidden`: not authorized; `gone`: the watch was too old and the list was read again; `decode`: unreadable response; `other`: anything else",
);
const WHAT: Label = Label::new("what", "`pod`: a pod of this node; `address`: an address elsewhere in the cluster");

/// The watches and what they know.
pub const FAMILIES: &[Family<Snapshot>] = &[
    Family::gauge(
        "kubernetes_up",
        "1 if the watch of this node's pods (Kubernetes API) is in sync, else 0; new pods have no names while it is 0.",
        |it, out| out.gauge(Some(u64::from(it.up))),
    ),
    Family::gauge("kubernetes_pods", "Pods of this node that the agent knows from the Kubernetes API.", |it, out| {
        out.gauge(Some(number(it.pods)))
    }),
    Family::counter(
        "kubernetes_errors",
        "Failed requests and watches of the Kubernetes API since the agent started, by kind.",
        errors,
    )
    .labels(&[KIND]),
    Family::counter(
        "kubernetes_refused",
        "Pods of this node and addresses of the cluster that were not kept since the agent started, because the limit was reached; they have no names.",
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
