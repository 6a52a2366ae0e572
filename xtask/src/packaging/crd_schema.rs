//! The fields that our manifests use of custom resources: those of the Prometheus Operator and of OpenShift, from their
//! published APIs.

use anyhow::{Result, bail};
use serde_json::Value;

/// Type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Str,
    Int,
    Bool,
    /// A map from strings to strings.
    StrMap,
}

use Type::{Bool, Int, Str, StrMap};

/// Path, type, and whether the field is required.
type Field = (&'static str, Type, bool);

const META: [Field; 5] = [
    (".apiVersion", Str, true),
    (".kind", Str, true),
    (".metadata.name", Str, true),
    (".metadata.namespace", Str, false),
    (".metadata.labels", StrMap, false),
];

/// monitoring.coreos.com/v1
const POD_MONITOR: [Field; 11] = [
    (".spec.selector.matchLabels", StrMap, true),
    (".spec.jobLabel", Str, false),
    (".spec.podMetricsEndpoints[].port", Str, true),
    (".spec.podMetricsEndpoints[].path", Str, false),
    (".spec.podMetricsEndpoints[].interval", Str, false),
    (".spec.podMetricsEndpoints[].scheme", Str, false),
    (".spec.podMetricsEndpoints[].honorLabels", Bool, true),
    (".spec.podMetricsEndpoints[].relabelings[].sourceLabels[]", Str, false),
    (".spec.podMetricsEndpoints[].relabelings[].targetLabel", Str, true),
    (".spec.podMetricsEndpoints[].relabelings[].replacement", Str, false),
    (".spec.podMetricsEndpoints[].relabelings[].action", Str, false),
];

/// monitoring.coreos.com/v1
const PROMETHEUS_RULE: [Field; 9] = [
    (".spec.groups[].name", Str, true),
    (".spec.groups[].interval", Str, false),
    (".spec.groups[].rules[].record", Str, false),
    (".spec.groups[].rules[].alert", Str, false),
    (".spec.groups[].rules[].expr", Str, true),
    (".spec.groups[].rules[].for", Str, false),
    (".spec.groups[].rules[].keep_firing_for", Str, false),
    (".spec.groups[].rules[].labels", StrMap, false),
    (".spec.groups[].rules[].annotations", StrMap, false),
];

/// security.openshift.io/v1
const CONSTRAINTS: [Field; 21] = [
    (".allowHostDirVolumePlugin", Bool, true),
    (".allowHostIPC", Bool, true),
    (".allowHostNetwork", Bool, true),
    (".allowHostPID", Bool, true),
    (".allowHostPorts", Bool, true),
    (".allowPrivilegeEscalation", Bool, true),
    (".allowPrivilegedContainer", Bool, true),
    (".allowedCapabilities[]", Str, true),
    (".defaultAddCapabilities[]", Str, false),
    (".requiredDropCapabilities[]", Str, false),
    (".fsGroup.type", Str, true),
    (".readOnlyRootFilesystem", Bool, true),
    (".runAsUser.type", Str, true),
    (".seLinuxContext.type", Str, true),
    (".seLinuxContext.seLinuxOptions.type", Str, true),
    (".seccompProfiles[]", Str, true),
    (".supplementalGroups.type", Str, true),
    (".volumes[]", Str, true),
    (".users[]", Str, true),
    (".groups[]", Str, false),
    (".priority", Int, false),
];

/// Differences from the schema of the kind.
pub(super) fn problems(version: &str, kind: &str, document: &Value) -> Result<Vec<String>> {
    let own: &[Field] = match (version, kind) {
        ("monitoring.coreos.com/v1", "PodMonitor") => &POD_MONITOR,
        ("monitoring.coreos.com/v1", "PrometheusRule") => &PROMETHEUS_RULE,
        ("security.openshift.io/v1", "SecurityContextConstraints") => &CONSTRAINTS,
        _ => bail!("{version:?} {kind:?}: unknown kind: add it to schema.rs or crd_schema.rs"),
    };
    let fields: Vec<Field> = META.iter().chain(own).copied().collect();
    let mut found = Vec::new();
    unknown("", document, &fields, &mut found);
    missing("", document, &fields, &mut found);
    Ok(found)
}

/// Reports each leaf that is not one of the fields, or has the wrong type.
fn unknown(at: &str, value: &Value, fields: &[Field], found: &mut Vec<String>) {
    if let Some((_, expected, _)) = fields.iter().find(|(path, ..)| *path == at) {
        if !has_type(*expected, value) {
            found.push(format!("{at}: {value} is not a {expected:?}"));
        }
        return;
    }
    let has_children = |mark: &str| fields.iter().any(|(path, ..)| path.starts_with(&format!("{at}{mark}")));
    match value {
        Value::Object(inner) if has_children(".") => {
            inner.iter().for_each(|(key, value)| unknown(&format!("{at}.{key}"), value, fields, found));
        }
        Value::Array(items) if has_children("[]") => {
            items.iter().for_each(|item| unknown(&format!("{at}[]"), item, fields, found));
        }
        _ => found.push(format!("{at}: no such field")),
    }
}

/// Reports required fields that are missing from an object that is present. An absent optional object requires nothing.
fn missing(at: &str, value: &Value, fields: &[Field], found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| missing(&format!("{at}[]"), item, fields, found)),
        Value::Object(inner) => {
            inner.iter().for_each(|(key, value)| missing(&format!("{at}.{key}"), value, fields, found));
            for (path, _, required) in fields {
                let Some(rest) = path.strip_prefix(at).and_then(|rest| rest.strip_prefix('.')) else { continue };
                let key = rest.split(['.', '[']).next().unwrap_or(rest);
                if *required && !inner.contains_key(key) {
                    found.push(format!("{at}.{key}: required"));
                }
            }
        }
        _ => (),
    }
}

fn has_type(expected: Type, value: &Value) -> bool {
    match expected {
        Str => value.is_string(),
        Int => value.is_i64(),
        Bool => value.is_boolean(),
        StrMap => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
    }
}
