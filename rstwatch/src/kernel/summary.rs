//! What a start says of the probes: in one line what is attached, in one line what is lost.

use super::probe::{Probe, Probes, Status};

/// Logs both lines. Why a probe is not attached goes to the debug log, and to `rstwatch check`.
pub fn log(probes: &Probes) {
    tracing::info!("{}", attached(probes));
    match lost(probes) {
        Some(line) => tracing::warn!("{line}"),
        None => tracing::info!("no evidence is lost on this host"),
    }
    probes.0.iter().filter_map(refusal).for_each(|line| tracing::debug!("{line}"));
}

/// The attached probes, and what each fallback replaces.
fn attached(Probes(probes): &Probes) -> String {
    let name = |probe: &Probe| match &probe.status {
        Status::Attached => Some(probe.name.to_owned()),
        Status::Fallback { replaces } => Some(format!("{} (instead of {})", probe.name, replaces.join(", "))),
        Status::Replaced { .. } | Status::Missing { .. } => None,
    };
    format!("attached: {}", probes.iter().filter_map(name).collect::<Vec<_>>().join(", "))
}

/// The evidence that is lost, each with the probes that would give it; `None` if nothing is lost.
fn lost(Probes(probes): &Probes) -> Option<String> {
    let losses = by_loss(probes.iter().filter_map(|probe| Some((probe.lost()?, probe.name))));
    let each: Vec<_> = losses.iter().map(|(lost, names)| format!("{lost} [{}]", names.join(", "))).collect();
    (!each.is_empty()).then(|| format!("not seen on this host: {} (rstwatch check says why)", each.join("; ")))
}

/// Groups the names of probes by the evidence that is lost without them, in the order of its first mention.
pub fn by_loss<'a>(lost_and_probe: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut losses: Vec<(&str, Vec<&str>)> = Vec::new();
    for (lost, probe) in lost_and_probe {
        match losses.iter_mut().find(|(known, _)| *known == lost) {
            Some((_, probes)) => probes.push(probe),
            None => losses.push((lost, vec![probe])),
        }
    }
    losses
}

/// Why a probe is not attached, and what is used instead.
fn refusal(probe: &Probe) -> Option<String> {
    let name = probe.name;
    match &probe.status {
        Status::Attached | Status::Fallback { .. } => None,
        Status::Replaced { why, by, lost: None } => {
            Some(format!("{name}: not hookable here, using {by} instead (same evidence): {why}"))
        }
        Status::Replaced { why, by, lost: Some(lost) } => {
            Some(format!("{name}: not hookable here, using {by} instead (lost: {lost}): {why}"))
        }
        Status::Missing { why } => Some(format!("{name}: not attached (lost: {}): {why}", probe.evidence)),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn probe(name: &'static str, status: Status) -> Probe {
        Probe { name, required: false, status, evidence: "firewall rejects" }
    }

    fn why() -> String {
        "the kernel refuses: EPERM".to_owned()
    }

    #[test]
    fn two_lines_say_it_all() {
        let probes = Probes(vec![
            probe("tcp_send_reset", Status::Attached),
            probe("kfree_skb", Status::Fallback { replaces: vec!["nf_send_reset", "tcp_v4_syn_recv_sock"] }),
            probe("tcp_v4_syn_recv_sock", Status::Replaced { why: why(), by: "kfree_skb", lost: None }),
            probe("nf_send_reset", Status::Replaced { why: why(), by: "kfree_skb", lost: Some("a few rejects") }),
            probe("nf_send_reset6", Status::Replaced { why: why(), by: "kfree_skb", lost: Some("a few rejects") }),
            probe("early_drop", Status::Missing { why: why() }),
        ]);
        let refusals: Vec<_> = probes.0.iter().filter_map(refusal).collect();
        let lost = lost(&probes).expect("some is lost");
        expect![[r"
            attached: tcp_send_reset, kfree_skb (instead of nf_send_reset, tcp_v4_syn_recv_sock)
            not seen on this host: a few rejects [nf_send_reset, nf_send_reset6]; firewall rejects [early_drop] (rstwatch check says why)
            tcp_v4_syn_recv_sock: not hookable here, using kfree_skb instead (same evidence): the kernel refuses: EPERM
            nf_send_reset: not hookable here, using kfree_skb instead (lost: a few rejects): the kernel refuses: EPERM
            nf_send_reset6: not hookable here, using kfree_skb instead (lost: a few rejects): the kernel refuses: EPERM
            early_drop: not attached (lost: firewall rejects): the kernel refuses: EPERM
        "]]
        .assert_eq(&format!("{}\n{lost}\n{}\n", attached(&probes), refusals.join("\n")));
    }

    #[test]
    fn a_replaced_probe_is_no_loss() {
        let probes = Probes(vec![
            probe("tcp_reset", Status::Replaced { why: why(), by: "cgroup_skb", lost: None }),
            probe("cgroup_skb", Status::Fallback { replaces: vec!["tcp_reset"] }),
        ]);
        assert_eq!(lost(&probes), None);
    }
}
