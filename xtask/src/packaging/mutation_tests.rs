//! Mutation tests of the manifest checks: they must notice each misspelt field and each value of a wrong type, in every
//! document that is written by hand.

use std::fs;

use serde_json::Value;

use super::document::{documents, name};
use super::{render, schema};

/// Maps with arbitrary keys.
const FREE_FORM: [&str; 8] =
    [".labels", ".annotations", ".data", ".matchLabels", ".nodeSelector", ".limits", ".requests", ".hard"];

fn all() -> Vec<Value> {
    let files = [
        "base/namespace",
        "base/serviceaccount",
        "base/clusterrole",
        "base/daemonset",
        "base/networkpolicy",
        "components/gke/resourcequota",
        "overlays/prometheus-operator/podmonitor",
        "overlays/prometheus-operator/prometheusrule",
        "overlays/openshift/securitycontextconstraints",
    ];
    let read = |file: &str| {
        let text = fs::read_to_string(render::home().join(format!("{file}.yaml"))).expect("a manifest");
        documents(&text).expect("YAML")
    };
    files.iter().flat_map(|file| read(file)).collect()
}

#[test]
fn each_document_is_valid() {
    for document in all() {
        assert_eq!(schema::problems(&document), Vec::<String>::new(), "{}", name(&document));
    }
}

#[test]
fn every_misspelt_field_is_reported() {
    let mut tried = 0;
    for document in all() {
        for path in paths(&document) {
            let mut mutant = document.clone();
            let (parent, key) = path.rsplit_once('/').expect("a path");
            let Some(Value::Object(fields)) = mutant.pointer_mut(parent) else { continue };
            let value = fields.remove(key).expect("the field");
            fields.insert(format!("{key}x"), value);
            assert_ne!(schema::problems(&mutant), Vec::<String>::new(), "{} {path}", name(&document));
            tried += 1;
        }
    }
    assert!(tried > 150, "only {tried} fields were mutated");
}

#[test]
fn every_wrong_type_is_reported() {
    for document in all() {
        for path in paths(&document) {
            let mut mutant = document.clone();
            let field = mutant.pointer_mut(&path).expect("the field");
            *field = match field {
                // Strings or numbers.
                Value::String(_) if ["/port", "/maxUnavailable"].iter().any(|end| path.ends_with(end)) => {
                    Value::Bool(true)
                }
                Value::String(_) => Value::from(3),
                Value::Bool(_) | Value::Number(_) => serde_json::json!(["x"]),
                _ => Value::from("x"),
            };
            assert_ne!(schema::problems(&mutant), Vec::<String>::new(), "{} {path}", name(&document));
        }
    }
}

/// JSON pointers to all fields outside free-form maps.
fn paths(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("", document, &mut found);
    found
}

fn walk(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(_) if FREE_FORM.iter().any(|free| at.ends_with(&free.replace('.', "/"))) => (),
        Value::Object(fields) => {
            for (key, inner) in fields {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push(at.clone());
                walk(&at, inner, found);
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| walk(&format!("{at}/{n}"), item, found)),
        _ => (),
    }
}
