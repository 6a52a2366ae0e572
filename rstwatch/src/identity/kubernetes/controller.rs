//! Derives the workload that created a pod from the pod alone, without permission to read ReplicaSets and Jobs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::identity::owner::pods::Controller;

/// The owner reference of a pod's controller.
#[derive(Clone, Copy, Debug)]
pub struct OwnerReference<'a> {
    /// Group and version of its kind.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// The other fields of the pod that identify its workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodFields<'a> {
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

/// Latest creation of a Job's pod after the scheduled time: a CronJob may start late, and a Job may be suspended or retry.
const MAX_DELAY: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Earliest creation relative to the scheduled time: clocks may differ.
const MIN_DELAY: SignedDuration = SignedDuration::from_mins(-5);

/// The workload that the user wrote, rather than the object that a controller created from it.
///
/// - The Deployment controller names a ReplicaSet after the Deployment and the hash in the pods' label (kubernetes
///   `pkg/controller/deployment/sync.go`, `getNewReplicaSet`), so a ReplicaSet with such a name belongs to a Deployment.
///   Argo Rollouts does the same with its own label (argo-rollouts `rollout/sync.go`, `createDesiredReplicaSet`).
/// - The CronJob controller names a Job after the CronJob and the scheduled minute (kubernetes
///   `pkg/controller/cronjob/cronjob_controllerv2.go`, `getJobName`).
/// - A static pod's owner is its Node; the kubelet appends the node's name to that of the manifest (kubernetes
///   `pkg/kubelet/config/common.go`, `generatePodName`). Its kind here is `StaticPod`, because the name is not a Node's.
pub fn controller(owner: OwnerReference<'_>, fields: &PodFields<'_>) -> Controller {
    let OwnerReference { api_version, kind, name } = owner;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("apps", "ReplicaSet") => replica_set(name, fields),
        ("batch", "Job") => match cron_job(name, fields.created) {
            Some(cron_job) => new_controller("CronJob", cron_job),
            None => new_controller(kind, name),
        },
        ("", "Node") => new_controller("StaticPod", strip_dashed(fields.name, fields.node).unwrap_or(fields.name)),
        _ => new_controller(kind, name),
    }
}

fn new_controller(kind: &str, name: &str) -> Controller {
    Controller { kind: Arc::from(kind), name: Arc::from(name) }
}

fn replica_set(name: &str, fields: &PodFields<'_>) -> Controller {
    let of = |hash: Option<&str>| hash.and_then(|hash| strip_dashed(name, hash));
    match (of(fields.template_hash), of(fields.rollout_hash)) {
        (Some(deployment), _) => new_controller("Deployment", deployment),
        (None, Some(rollout)) => new_controller("Rollout", rollout),
        (None, None) => new_controller("ReplicaSet", name),
    }
}

/// The name without `-suffix`; `None` if it has another ending or would be empty.
fn strip_dashed<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(suffix).filter(|_| !suffix.is_empty())?.strip_suffix('-')?;
    (!rest.is_empty()).then_some(rest)
}

/// The CronJob's name, if the Job's name ends in minutes since 1970 that fit the pod's creation.
fn cron_job(job: &str, created: Option<Timestamp>) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    let digits = !minutes.is_empty() && minutes.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = minutes.parse::<i64>().ok().filter(|_| digits)?.checked_mul(60)?;
    let delay = created?.duration_since(Timestamp::from_second(seconds).ok()?);
    (!name.is_empty() && (MIN_DELAY..=MAX_DELAY).contains(&delay)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(api_version: &str, kind: &str, name: &str, fields: &PodFields<'_>) -> String {
        let Controller { kind, name } = controller(OwnerReference { api_version, kind, name }, fields);
        format!("{kind} {name}")
    }

    #[test]
    fn replica_sets_belong_to_the_workload_of_their_hash() {
        let plain = PodFields::default();
        let deployed = PodFields { template_hash: Some("7c9d8f6b5"), ..plain };
        let rolled = PodFields { rollout_hash: Some("7c9d8f6b5"), ..plain };
        let cases = [
            ("orders-7c9d8f6b5", deployed, "Deployment orders"),
            ("orders-api-7c9d8f6b5", deployed, "Deployment orders-api"),
            ("orders-7c9d8f6b5", rolled, "Rollout orders"),
            ("orders-7c9d8f6b5", plain, "ReplicaSet orders-7c9d8f6b5"),
            ("orders7c9d8f6b5", deployed, "ReplicaSet orders7c9d8f6b5"),
            ("-7c9d8f6b5", deployed, "ReplicaSet -7c9d8f6b5"),
            ("orders-", PodFields { template_hash: Some(""), ..plain }, "ReplicaSet orders-"),
            ("orders", deployed, "ReplicaSet orders"),
        ];
        for (name, fields, expected) in cases {
            assert_eq!(found("apps/v1", "ReplicaSet", name, &fields), expected);
        }
        // A kind of the same name in another API group is shown as it is.
        let expected = "ReplicaSet orders-7c9d8f6b5";
        assert_eq!(found("example.org/v1", "ReplicaSet", "orders-7c9d8f6b5", &deployed), expected);
    }

    #[test]
    fn jobs_of_a_cron_job_end_in_its_minute() {
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
            assert_eq!(found("batch/v1", "Job", name, &PodFields { created, ..PodFields::default() }), expected);
        }
        let fields = PodFields { created: created(2), ..PodFields::default() };
        assert_eq!(found("batch.volcano.sh/v1alpha1", "Job", "report-29401660", &fields), "Job report-29401660");
    }

    #[test]
    fn static_pods_are_named_by_their_manifest() {
        let fields = PodFields { name: "kube-apiserver-node-a", node: "node-a", ..PodFields::default() };
        assert_eq!(found("v1", "Node", "node-a", &fields), "StaticPod kube-apiserver");
        let fields = PodFields { name: "etcd", node: "", ..PodFields::default() };
        assert_eq!(found("v1", "Node", "node-a", &fields), "StaticPod etcd");
    }

    #[test]
    fn other_kinds_are_unchanged() {
        for (api_version, kind) in [
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("v1", "ReplicationController"),
            ("kafka.strimzi.io/v1", "StrimziPodSet"),
        ] {
            assert_eq!(found(api_version, kind, "db-1", &PodFields::default()), format!("{kind} db-1"));
        }
    }
}
