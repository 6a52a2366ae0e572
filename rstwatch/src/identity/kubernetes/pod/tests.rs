use serde_json::json;

use super::*;

const HASH: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

fn decode(value: &serde_json::Value) -> WatchedPod {
    serde_json::from_str(&value.to_string()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn decodes_the_fields_that_are_used() {
    let pod = decode(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "orders-7c9d8f6b5-abcde", "namespace": "shop", "uid": "u-1", "resourceVersion": "17",
            "labels": {"app": "orders", "pod-template-hash": "7c9d8f6b5"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "x"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-7c9d8f6b5", "controller": true},
            ],
            "managedFields": [{"fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {"nodeName": "node-a", "containers": [{"name": "api"}]},
        "status": {
            "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "nonsense"}],
            "containerStatuses": [{
                "name": "api", "containerID": "containerd://aa",
                "lastState": {"terminated": {"containerID": "containerd://99"}},
            }],
            "initContainerStatuses": [{"name": "init", "containerID": "cri-o://bb"}],
            "ephemeralContainerStatuses": [{"name": "debug", "containerID": "docker://cc"}, {"name": "new"}],
        },
    }));
    let pair = |id: &str, name: &str| (Arc::from(id), Arc::from(name));
    let expected = Pod {
        namespace: "shop".into(),
        name: "orders-7c9d8f6b5-abcde".into(),
        controller: Some(Controller { kind: "Deployment".into(), name: "orders".into() }),
        containers: vec![pair("99", "api"), pair("aa", "api"), pair("bb", "init"), pair("cc", "debug")],
    };
    assert_eq!(pod.pod, expected);
    assert_eq!((pod.uid.as_deref(), pod.config_hash, pod.opted_out), (Some("u-1"), None, false));
    assert_eq!(pod.meta.resource_version.as_deref(), Some("17"));
    assert_eq!(
        pod.addresses,
        ["10.0.0.1".parse::<IpAddr>().expect("an address"), "fd00::1".parse().expect("an address")]
    );
}

#[test]
fn reads_annotations() {
    let pod = decode(&json!({"metadata": {"name": "a", "uid": "u", "annotations": {
        "rstwatch.dev/ignore-names": "true", "kubernetes.io/config.mirror": HASH}}}));
    assert_eq!((pod.opted_out, pod.config_hash.as_deref()), (true, Some(HASH)));
    let pod = decode(&json!({"metadata": {"annotations": {"rstwatch.dev/ignore-names": "false"}}}));
    assert!(!pod.opted_out);
}

#[test]
fn config_hash_comes_only_from_mirror_pods() {
    let config_hash = |annotation: &str, value: &str| {
        decode(&json!({"metadata": {"name": "a", "uid": "u", "annotations": {annotation: value}}})).config_hash
    };
    assert_eq!(config_hash("kubernetes.io/config.mirror", HASH).as_deref(), Some(HASH));
    assert_eq!(config_hash("kubernetes.io/config.hash", HASH), None, "any user can set this annotation");
    let (container_id, uppercase) = ("a".repeat(64), HASH.to_uppercase());
    for other in ["", "0a1b", "u-1", "9c0ff8a3-7e1e-4f38-8a0a-7c1a9c52b0de", &container_id, &uppercase] {
        assert_eq!(config_hash("kubernetes.io/config.mirror", other), None, "{other}");
    }
}

#[test]
fn host_network_and_finished_pods_have_no_addresses() {
    let status = json!({"podIP": "10.0.0.1", "phase": "Running"});
    assert_eq!(decode(&json!({"status": status})).addresses.len(), 1);
    assert!(decode(&json!({"status": status, "spec": {"hostNetwork": true}})).addresses.is_empty());
    assert!(decode(&json!({"status": {"podIP": "10.0.0.1", "phase": "Succeeded"}})).addresses.is_empty());
}

#[test]
fn accepts_any_json() {
    for value in [json!({}), json!({"metadata": null, "spec": [], "status": 7}), json!({"metadata": {"uid": {}}})] {
        let pod = decode(&value);
        assert_eq!((pod.uid, pod.pod.containers.len()), (None, 0));
    }
    let many: Vec<_> = (0..1_000).map(|i| json!({"name": "c", "containerID": format!("containerd://{i}")})).collect();
    assert_eq!(decode(&json!({"status": {"containerStatuses": many}})).pod.containers.len(), raw::MAX_CONTAINERS);
}
