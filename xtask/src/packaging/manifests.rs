//! Checks deploy/kubernetes: renders it, then checks each document against its schema and the references between documents.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::command;
use serde_json::Value;

use super::capabilities::WITHOUT_FENTRY;
use super::document::name;
use super::{references, render, rules, schema, tools};
use crate::rules::promtool;

/// Patches of the SecurityContextConstraints that a component requires, as deploy/kubernetes/README.md documents them.
const CONSTRAINT_PATCHES: [(&str, &str); 2] = [
    ("components/net-admin", r#"{"op": "add", "path": "/allowedCapabilities/-", "value": "NET_ADMIN"}"#),
    (
        "components/host-network",
        r#"{"op": "replace", "path": "/allowHostNetwork", "value": true},
      {"op": "replace", "path": "/allowHostPorts", "value": true}"#,
    ),
];

/// Checks the base, each overlay, and the base with each component and with all of them.
pub(super) fn check() -> Result<()> {
    rules::check()?;
    let tools = tools::tools()?;
    for (what, folder) in render::applied()? {
        check_documents(&what, &render::render(&tools.kubectl, &folder)?)?;
    }
    let components = render::components()?;
    let sets = components.iter().map(std::slice::from_ref).chain([&*components]);
    for set in sets {
        let what: Vec<_> = set.iter().map(|(name, _)| &**name).collect();
        let folders: Vec<PathBuf> = set.iter().map(|(_, folder)| folder.clone()).collect();
        check_documents(&what.join(" + "), &render::with_components(&tools.kubectl, &folders)?)?;
    }
    check_openshift(&tools.kubectl)?;
    check_rules_with_promtool()
}

/// The constraints must permit what a component adds: the check must fail without the patch and pass with it.
fn check_openshift(kubectl: &Path) -> Result<()> {
    let folder = render::home().join("overlays/openshift");
    for (component, patch) in CONSTRAINT_PATCHES {
        let what = format!("overlays/openshift + {component}");
        let components = [render::home().join(component)];
        let unpatched = check_documents(&what, &render::extended(kubectl, &folder, &components, "")?);
        ensure!(unpatched.is_err(), "{what}: passes without the patch of the constraints");
        let patches = format!(
            "patches:\n- target: {{kind: SecurityContextConstraints, name: rstwatch}}\n  patch: |-\n    [{patch}]\n"
        );
        check_documents(&what, &render::extended(kubectl, &folder, &components, &patches)?)?;
    }
    Ok(())
}

/// An error that lists all problems.
fn check_documents(what: &str, documents: &[Value]) -> Result<()> {
    let each = documents.iter().flat_map(|document| {
        let name = name(document);
        schema::problems(document).into_iter().map(move |problem| format!("{name}: {problem}"))
    });
    let extra: &[&str] = if what.contains("net-admin") { &[WITHOUT_FENTRY] } else { &[] };
    let all: Vec<_> = each.chain(references::problems(documents, extra)).collect();
    if !all.is_empty() {
        bail!("deploy/kubernetes, {what}:\n{}", all.join("\n"));
    }
    Ok(())
}

/// The operator passes `spec` to Prometheus unchanged, so promtool must accept it.
fn check_rules_with_promtool() -> Result<()> {
    let object = super::document::documents(&rules::object()?)?;
    let spec = object.first().context("an object")?["spec"].to_string();
    let scratch = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    // JSON is YAML.
    std::fs::write(scratch.path(), spec)?;
    let mut check = std::process::Command::new(promtool()?);
    command::run_quiet(check.args(["check", "rules"]).arg(scratch.path()))
}
