use super::*;
use crate::kernel::hooks::HOOKS;

/// What a kernel answers to these hooks, in this order.
fn outcomes(answers: &[(&str, bool)]) -> Vec<Outcome> {
    let hook = |name| HOOKS.iter().find(|hook| hook.name == name).expect("a hook of the table");
    let answer = |attached| if attached { Ok(()) } else { Err("EPERM".to_owned()) };
    answers.iter().map(|(name, attached)| Outcome { hook: hook(*name), answer: answer(*attached) }).collect()
}

fn why() -> String {
    "EPERM".to_owned()
}

fn statuses(answers: &[(&str, bool)], has: impl Fn(&Feature) -> bool) -> Vec<(&'static str, Status)> {
    probes(&outcomes(answers), has).0.into_iter().map(|probe| (probe.name, probe.status)).collect()
}

#[test]
fn a_fallback_replaces_what_was_refused_and_names_it() {
    let answers = [("tcp_reset", false), ("cgroup_skb", true), ("tcp_conn_request", false), ("tcp_send_reset", true)];
    let expected = [
        ("tcp_send_reset", Status::Attached),
        ("tcp_reset", Status::Replaced { why: why(), by: "cgroup_skb", lost: None }),
        ("cgroup_skb", Status::Fallback { replaces: vec!["tcp_reset", "tcp_conn_request"] }),
        (
            "tcp_conn_request",
            Status::Replaced {
                why: why(),
                by: "cgroup_skb",
                lost: Some("exact overflows of each listener (estimated from its drops)"),
            },
        ),
    ];
    assert_eq!(statuses(&answers, |_| true), expected);
}

#[test]
fn a_refused_fallback_replaces_nothing() {
    let answers = [("tcp_reset", false), ("cgroup_skb", false)];
    let expected = [("tcp_reset", Status::Missing { why: why() }), ("cgroup_skb", Status::Missing { why: why() })];
    assert_eq!(statuses(&answers, |_| true), expected);
}

/// `kfree_skb` recognises overflows by their drop reason, and rejects without it.
#[test]
fn a_fallback_may_need_a_feature_for_one_hook_and_not_for_another() {
    let answers = [("nf_send_reset", false), ("tcp_v4_syn_recv_sock", false), ("kfree_skb", true)];
    let with = statuses(&answers, |_| true);
    assert_eq!(with[1].1, Status::Replaced { why: why(), by: "kfree_skb", lost: None });
    assert_eq!(with[2].1, Status::Fallback { replaces: vec!["nf_send_reset", "tcp_v4_syn_recv_sock"] });
    let without = statuses(&answers, |_| false);
    assert_eq!(without[1].1, Status::Missing { why: why() });
    assert_eq!(without[2].1, Status::Fallback { replaces: vec!["nf_send_reset"] });
}

#[test]
fn the_loss_depends_on_the_kernel() {
    let answers = outcomes(&[("tcp_v4_send_reset", false)]);
    let lost = |has: bool| probes(&answers, |_| has).0[0].lost().expect("a loss");
    assert!(lost(true).starts_with("repeated RSTs"), "{}", lost(true));
    assert!(lost(false).contains("TIME_WAIT"), "{}", lost(false));
}
