//! Words that the API takes from a fixed list. k8s-openapi has them as strings.

use serde_json::Value;

/// By the field, or by the field and the one that holds it.
const WORDS: [(&str, &[&str]); 22] = [
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

/// Words that are not of their list, and those that choose a `type` of which nothing is known here.
pub(super) fn problems(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look("", "", document, &mut found);
    found
}

fn look(parent: &str, key: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        // Theirs are free words.
        Value::Object(_) if ["labels", "annotations", "data", "matchLabels"].contains(&key) => (),
        Value::Object(fields) => fields.iter().for_each(|(inner, value)| look(key, inner, value, found)),
        // Items stand where their list stands.
        Value::Array(items) => items.iter().for_each(|item| look(parent, key, item, found)),
        Value::String(word) => found.extend(wrong(parent, key, word)),
        _ => (),
    }
}

fn wrong(parent: &str, key: &str, word: &str) -> Option<String> {
    let both = format!("{parent}.{key}");
    let known = WORDS.iter().find(|(field, _)| *field == both || *field == key).map(|(_, words)| *words);
    match known {
        Some(words) => (!words.contains(&word)).then(|| format!("{both}: {word:?} is none of {words:?}")),
        None => (key == "type").then(|| format!("{both}: nothing is known of its words: add them to words.rs")),
    }
}
