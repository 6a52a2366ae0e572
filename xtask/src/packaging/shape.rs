//! The fields that we use of kinds which others define: the Prometheus operator and OpenShift. Taken from their published API.

use anyhow::{Result, bail};
use serde_json::Value;

/// What may stand at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Word,
    Number,
    Truth,
    /// A map of words.
    Words,
}

use What::{Number, Truth, Word, Words};

/// Path, what stands there, and whether it must.
type Field = (&'static str, What, bool);

const META: [Field; 5] = [
    (".apiVersion", Word, true),
    (".kind", Word, true),
    (".metadata.name", Word, true),
    (".metadata.namespace", Word, false),
    (".metadata.labels", Words, false),
];

/// monitoring.coreos.com/v1
const POD_MONITOR: [Field; 11] = [
    (".spec.selector.matchLabels", Words, true),
    (".spec.jobLabel", Word, false),
    (".spec.podMetricsEndpoints[].port", Word, true),
    (".spec.podMetricsEndpoints[].path", Word, false),
    (".spec.podMetricsEndpoints[].interval", Word, false),
    (".spec.podMetricsEndpoints[].scheme", Word, false),
    (".spec.podMetricsEndpoints[].honorLabels", Truth, true),
    (".spec.podMetricsEndpoints[].relabelings[].sourceLabels[]", Word, false),
    (".spec.podMetricsEndpoints[].relabelings[].targetLabel", Word, true),
    (".spec.podMetricsEndpoints[].relabelings[].replacement", Word, false),
    (".spec.podMetricsEndpoints[].relabelings[].action", Word, false),
];

/// monitoring.coreos.com/v1
const PROMETHEUS_RULE: [Field; 9] = [
    (".spec.groups[].name", Word, true),
    (".spec.groups[].interval", Word, false),
    (".spec.groups[].rules[].record", Word, false),
    (".spec.groups[].rules[].alert", Word, false),
    (".spec.groups[].rules[].expr", Word, true),
    (".spec.groups[].rules[].for", Word, false),
    (".spec.groups[].rules[].keep_firing_for", Word, false),
    (".spec.groups[].rules[].labels", Words, false),
    (".spec.groups[].rules[].annotations", Words, false),
];

/// security.openshift.io/v1; these required ones have no default.
const CONSTRAINTS: [Field; 21] = [
    (".allowHostDirVolumePlugin", Truth, true),
    (".allowHostIPC", Truth, true),
    (".allowHostNetwork", Truth, true),
    (".allowHostPID", Truth, true),
    (".allowHostPorts", Truth, true),
    (".allowPrivilegeEscalation", Truth, true),
    (".allowPrivilegedContainer", Truth, true),
    (".allowedCapabilities[]", Word, true),
    (".defaultAddCapabilities[]", Word, false),
    (".requiredDropCapabilities[]", Word, false),
    (".fsGroup.type", Word, true),
    (".readOnlyRootFilesystem", Truth, true),
    (".runAsUser.type", Word, true),
    (".seLinuxContext.type", Word, true),
    (".seLinuxContext.seLinuxOptions.type", Word, true),
    (".seccompProfiles[]", Word, true),
    (".supplementalGroups.type", Word, true),
    (".volumes[]", Word, true),
    (".users[]", Word, true),
    (".groups[]", Word, false),
    (".priority", Number, false),
];

/// What differs from the kind's shape.
pub(super) fn problems(version: &str, kind: &str, document: &Value) -> Result<Vec<String>> {
    let own: &[Field] = match (version, kind) {
        ("monitoring.coreos.com/v1", "PodMonitor") => &POD_MONITOR,
        ("monitoring.coreos.com/v1", "PrometheusRule") => &PROMETHEUS_RULE,
        ("security.openshift.io/v1", "SecurityContextConstraints") => &CONSTRAINTS,
        _ => bail!("{version:?} {kind:?}: nothing is known of this kind: add it to kinds.rs or shape.rs"),
    };
    let fields: Vec<Field> = META.iter().chain(own).copied().collect();
    let mut found = Vec::new();
    strangers("", document, &fields, &mut found);
    missing("", document, &fields, &mut found);
    Ok(found)
}

/// Every leaf is one of the fields.
fn strangers(at: &str, value: &Value, fields: &[Field], found: &mut Vec<String>) {
    if let Some((_, what, _)) = fields.iter().find(|(path, ..)| *path == at) {
        if !fits(*what, value) {
            found.push(format!("{at}: {value} is not a {what:?}"));
        }
        return;
    }
    let holds = |mark: &str| fields.iter().any(|(path, ..)| path.starts_with(&format!("{at}{mark}")));
    match value {
        Value::Object(inner) if holds(".") => {
            inner.iter().for_each(|(key, value)| strangers(&format!("{at}.{key}"), value, fields, found));
        }
        Value::Array(items) if holds("[]") => {
            items.iter().for_each(|item| strangers(&format!("{at}[]"), item, fields, found));
        }
        _ => found.push(format!("{at}: no such field")),
    }
}

/// What must stand in each object that could hold it. A part that is optional and absent asks for nothing.
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

fn fits(what: What, value: &Value) -> bool {
    match what {
        Word => value.is_string(),
        Number => value.is_i64(),
        Truth => value.is_boolean(),
        Words => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
    }
}
