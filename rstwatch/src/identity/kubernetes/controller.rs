//! What made a pod, from the pod alone: without the right to read what made it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::identity::owner::pods::Controller;

/// The owner that a pod names as its controller.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Group and version of its kind.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// What else of the pod tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its node.
    pub node: &'a str,
    /// Its label `pod-template-hash`.
    pub template_hash: Option<&'a str>,
    /// Its label `rollouts-pod-template-hash`.
    pub rollout_hash: Option<&'a str>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// How long after its scheduled time a job's pod may be created: starts are missed and made up for, jobs are suspended
/// and try again.
const LATEST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// And before it, by clocks that differ.
const EARLIEST: SignedDuration = SignedDuration::from_mins(-5);

/// The workload: what users wrote, not what a controller made of it.
///
/// - The Deployment controller names a ReplicaSet after the Deployment and the hash that it labels the pods with
///   (kubernetes `pkg/controller/deployment/sync.go`, `getNewReplicaSet`), so a ReplicaSet of such a name is a Deployment's.
///   Argo Rollouts does the same with a label of its own (argo-rollouts `rollout/sync.go`, `createDesiredReplicaSet`).
/// - The CronJob controller names a Job after the CronJob and the scheduled minute (kubernetes
///   `pkg/controller/cronjob/cronjob_controllerv2.go`, `getJobName`).
/// - A static pod's owner is its Node; the kubelet appends the node's name to the manifest's (kubernetes
///   `pkg/kubelet/config/common.go`, `generatePodName`). Its kind here is `StaticPod`, for no Node is called so.
pub fn controller(owner: Owner<'_>, signs: &Signs<'_>) -> Controller {
    let Owner { api_version, kind, name } = owner;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("apps", "ReplicaSet") => replica_set(name, signs),
        ("batch", "Job") => match cron_job(name, signs.created) {
            Some(cron_job) => made("CronJob", cron_job),
            None => made(kind, name),
        },
        ("", "Node") => made("StaticPod", without(signs.name, signs.node).unwrap_or(signs.name)),
        _ => made(kind, name),
    }
}

fn made(kind: &str, name: &str) -> Controller {
    Controller { kind: Arc::from(kind), name: Arc::from(name) }
}

fn replica_set(name: &str, signs: &Signs<'_>) -> Controller {
    let of = |hash: Option<&str>| hash.and_then(|hash| without(name, hash));
    match (of(signs.template_hash), of(signs.rollout_hash)) {
        (Some(deployment), _) => made("Deployment", deployment),
        (None, Some(rollout)) => made("Rollout", rollout),
        (None, None) => made("ReplicaSet", name),
    }
}

/// A name without `-suffix`; none if it does not end so or nothing is left.
fn without<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(suffix).filter(|_| !suffix.is_empty())?.strip_suffix('-')?;
    (!rest.is_empty()).then_some(rest)
}

/// The CronJob, if the name ends in a minute since 1970 that fits the pod's creation.
fn cron_job(job: &str, created: Option<Timestamp>) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    let digits = !minutes.is_empty() && minutes.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = minutes.parse::<i64>().ok().filter(|_| digits)?.checked_mul(60)?;
    let late = created?.duration_since(Timestamp::from_second(seconds).ok()?);
    (!name.is_empty() && (EARLIEST..=LATEST).contains(&late)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(api_version: &str, kind: &str, name: &str, signs: &Signs<'_>) -> String {
        let Controller { kind, name } = controller(Owner { api_version, kind, name }, signs);
        format!("{kind} {name}")
    }

    #[test]
    fn replica_sets_belong_to_what_hashed_them() {
        let plain = Signs::default();
        let deployed = Signs { template_hash: Some("7c9d8f6b5"), ..plain };
        let rolled = Signs { rollout_hash: Some("7c9d8f6b5"), ..plain };
        let cases = [
            ("orders-7c9d8f6b5", deployed, "Deployment orders"),
            ("orders-api-7c9d8f6b5", deployed, "Deployment orders-api"),
            ("orders-7c9d8f6b5", rolled, "Rollout orders"),
            ("orders-7c9d8f6b5", plain, "ReplicaSet orders-7c9d8f6b5"),
            ("orders7c9d8f6b5", deployed, "ReplicaSet orders7c9d8f6b5"),
            ("-7c9d8f6b5", deployed, "ReplicaSet -7c9d8f6b5"),
            ("orders-", Signs { template_hash: Some(""), ..plain }, "ReplicaSet orders-"),
            ("orders", deployed, "ReplicaSet orders"),
        ];
        for (name, signs, expected) in cases {
            assert_eq!(found("apps/v1", "ReplicaSet", name, &signs), expected);
        }
        // Another group's kind of the same name is what it is.
        let expected = "ReplicaSet orders-7c9d8f6b5";
        assert_eq!(found("example.org/v1", "ReplicaSet", "orders-7c9d8f6b5", &deployed), expected);
    }

    #[test]
    fn jobs_of_a_cron_job_bear_its_minute() {
        // 2025-11-25T19:40:00Z
        let minute = 29_401_660;
        let created = |seconds: i64| Timestamp::from_second(minute * 60 + seconds).ok();
        let cases = [
            ("report-29401660", created(2), "CronJob report"),
            ("db-backup-29401660", created(-60), "CronJob db-backup"),
            ("report-29401660", created(6 * 86_400), "CronJob report"),
            ("report-29401660", created(8 * 86_400), "Job report-29401660"),
            ("report-29401660", created(-3_600), "Job report-29401660"),
            ("report-29401660", None, "Job report-29401660"),
            ("report-20251125", created(0), "Job report-20251125"),
            ("report-+29401660", created(2), "Job report-+29401660"),
            ("-29401660", created(2), "Job -29401660"),
            ("report-", created(2), "Job report-"),
            ("report-99999999999999999999", created(2), "Job report-99999999999999999999"),
            ("report-9223372036854775807", created(2), "Job report-9223372036854775807"),
            ("migrate", created(2), "Job migrate"),
        ];
        for (name, created, expected) in cases {
            assert_eq!(found("batch/v1", "Job", name, &Signs { created, ..Signs::default() }), expected);
        }
        let signs = Signs { created: created(2), ..Signs::default() };
        assert_eq!(found("batch.volcano.sh/v1alpha1", "Job", "report-29401660", &signs), "Job report-29401660");
    }

    #[test]
    fn static_pods_are_called_by_their_manifest() {
        let signs = Signs { name: "kube-apiserver-node-a", node: "node-a", ..Signs::default() };
        assert_eq!(found("v1", "Node", "node-a", &signs), "StaticPod kube-apiserver");
        let signs = Signs { name: "etcd", node: "", ..Signs::default() };
        assert_eq!(found("v1", "Node", "node-a", &signs), "StaticPod etcd");
    }

    #[test]
    fn other_kinds_are_what_they_are() {
        for (api_version, kind) in [
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("v1", "ReplicationController"),
            ("kafka.strimzi.io/v1", "StrimziPodSet"),
        ] {
            assert_eq!(found(api_version, kind, "db-1", &Signs::default()), format!("{kind} db-1"));
        }
    }
}
