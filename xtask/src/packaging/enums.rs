//! Enumerated values of the Kubernetes API. k8s-openapi types them as plain strings.

use serde_json::Value;

/// Permitted values by field name, or by parent and field name.
const VALUES: [(&str, &[&str]); 22] = [
    ("appArmorProfile.type", &["RuntimeDefault", "Localhost", "Unconfined"]),
    ("capabilities.add", &["BPF", "PERFMON", "NET_ADMIN"]),
    ("capabilities.drop", &["ALL"]),
    ("dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ("fieldPath", &["spec.nodeName", "metadata.name", "metadata.namespace", "status.hostIP", "status.podIP"]),
    ("fsGroup.type", &["MustRunAs", "RunAsAny"]),
    ("hostPath.type", &["", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"]),
    ("imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("operator", &["Exists", "Equal", "In", "NotIn", "DoesNotExist"]),
    ("policyTypes", &["Ingress", "Egress"]),
    ("priorityClassName", &["system-node-critical", "system-cluster-critical"]),
    ("protocol", &["TCP", "UDP", "SCTP"]),
    ("relabelings.action", &["replace", "keep", "drop"]),
    ("runAsUser.type", &["MustRunAs", "RunAsAny", "MustRunAsNonRoot", "MustRunAsRange"]),
    ("scopeName", &["PriorityClass"]),
    ("seLinuxContext.type", &["MustRunAs", "RunAsAny"]),
    ("seLinuxOptions.type", &["spc_t", "container_t"]),
    ("seccompProfile.type", &["RuntimeDefault", "Localhost", "Unconfined"]),
    ("supplementalGroups.type", &["MustRunAs", "RunAsAny"]),
    ("updateStrategy.type", &["RollingUpdate", "OnDelete"]),
    ("verbs", &["get", "list", "watch"]),
    ("volumes", &["configMap", "hostPath", "projected", "secret", "emptyDir"]),
];

/// Values that are not permitted, and fields called `type` whose values this table does not list.
pub(super) fn problems(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("", "", document, &mut found);
    found
}

fn walk(parent: &str, key: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        // Free-form strings.
        Value::Object(_) if ["labels", "annotations", "data", "matchLabels"].contains(&key) => (),
        Value::Object(fields) => fields.iter().for_each(|(inner, value)| walk(key, inner, value, found)),
        // Items have the path of their array.
        Value::Array(items) => items.iter().for_each(|item| walk(parent, key, item, found)),
        Value::String(word) => found.extend(wrong(parent, key, word)),
        _ => (),
    }
}

fn wrong(parent: &str, key: &str, word: &str) -> Option<String> {
    let both = format!("{parent}.{key}");
    let known = VALUES.iter().find(|(field, _)| *field == both || *field == key).map(|(_, values)| *values);
    match known {
        Some(values) => (!values.contains(&word)).then(|| format!("{both}: {word:?} is none of {values:?}")),
        None => (key == "type").then(|| format!("{both}: permitted values unknown: add them to enums.rs")),
    }
}
