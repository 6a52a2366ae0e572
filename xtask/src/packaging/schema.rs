//! Checks each document against the schema of its kind. For built-in kinds, the document makes a round trip through the types
//! that k8s-openapi generates from the published API: a field that disappears is unknown, and one that appears is required.
//! Custom resources are checked by [`crd_schema`].

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::word;
use super::{crd_schema, enums};

/// The problems of a document, each with its path; empty if the document is valid.
pub(crate) fn problems(document: &Value) -> Vec<String> {
    let found = match (word(document, "/apiVersion"), word(document, "/kind")) {
        ("apps/v1", "DaemonSet") => typed::<DaemonSet>(document),
        ("v1", "ConfigMap") => typed::<ConfigMap>(document),
        ("v1", "Namespace") => typed::<Namespace>(document),
        ("v1", "ResourceQuota") => typed::<ResourceQuota>(document),
        ("v1", "Service") => typed::<Service>(document),
        ("v1", "ServiceAccount") => typed::<ServiceAccount>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => typed::<NetworkPolicy>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => typed::<ClusterRole>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => typed::<ClusterRoleBinding>(document),
        (version, kind) => crd_schema::problems(version, kind, document),
    };
    let mut found = found.unwrap_or_else(|error| vec![format!("{error:#}")]);
    found.extend(enums::problems(document));
    found
}

fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> Result<Vec<String>> {
    let read: T = serde_json::from_value(document.clone())?;
    let back = serde_json::to_value(&read)?;
    if !back.is_object() {
        bail!("not an object");
    }
    let mut found = Vec::new();
    compare("", document, &back, &mut found);
    Ok(found)
}

fn compare(at: &str, written: &Value, back: &Value, found: &mut Vec<String>) {
    match (written, back) {
        (Value::Object(written), Value::Object(back)) => {
            for (key, inner) in written {
                match back.get(key) {
                    Some(same) => compare(&format!("{at}.{key}"), inner, same, found),
                    None => found.push(format!("{at}.{key}: no such field")),
                }
            }
            let absent = back.keys().filter(|key| !written.contains_key(*key));
            found.extend(absent.map(|key| format!("{at}.{key}: required")));
        }
        (Value::Array(written), Value::Array(back)) if written.len() == back.len() => {
            for (n, (written, back)) in written.iter().zip(back).enumerate() {
                compare(&format!("{at}[{n}]"), written, back, found);
            }
        }
        _ if written == back => (),
        _ => found.push(format!("{at}: {written} is read as {back}")),
    }
}
