//! deploy/kubernetes: rendered, then each document by its kind and all of them together.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::command;
use serde_json::Value;

use super::document::name;
use super::rights::WITHOUT_FENTRY;
use super::{kinds, references, render, rules, tools};
use crate::rules::promtool;

/// What an overlay on OpenShift's patches with a component, as deploy/kubernetes/README.md says.
const WIDER: [(&str, &str); 2] = [
    ("components/net-admin", r#"{"op": "add", "path": "/allowedCapabilities/-", "value": "NET_ADMIN"}"#),
    (
        "components/host-network",
        r#"{"op": "replace", "path": "/allowHostNetwork", "value": true},
      {"op": "replace", "path": "/allowHostPorts", "value": true}"#,
    ),
];

/// All folders, and the base with each component and with all.
pub(super) fn check() -> Result<()> {
    rules::check()?;
    let tools = tools::tools()?;
    for (what, folder) in render::applied()? {
        judge(&what, &render::render(&tools.kubectl, &folder)?)?;
    }
    let components = render::components()?;
    let sets = components.iter().map(std::slice::from_ref).chain([&*components]);
    for set in sets {
        let what: Vec<_> = set.iter().map(|(name, _)| &**name).collect();
        let folders: Vec<PathBuf> = set.iter().map(|(_, folder)| folder.clone()).collect();
        judge(&what.join(" + "), &render::with_components(&tools.kubectl, &folders)?)?;
    }
    on_openshift(&tools.kubectl)?;
    promtool_reads_the_rules()
}

/// The constraint must allow what a component adds: without its patch the pod is not admitted, with it all agrees.
fn on_openshift(kubectl: &Path) -> Result<()> {
    let folder = render::home().join("overlays/openshift");
    for (component, patch) in WIDER {
        let what = format!("overlays/openshift + {component}");
        let components = [render::home().join(component)];
        let alone = judge(&what, &render::extended(kubectl, &folder, &components, "")?);
        ensure!(alone.is_err(), "{what}: the constraint need not be patched");
        let more = format!(
            "patches:\n- target: {{kind: SecurityContextConstraints, name: rstwatch}}\n  patch: |-\n    [{patch}]\n"
        );
        judge(&what, &render::extended(kubectl, &folder, &components, &more)?)?;
    }
    Ok(())
}

/// An error that tells all that is wrong.
fn judge(what: &str, documents: &[Value]) -> Result<()> {
    let each = documents.iter().flat_map(|document| {
        let name = name(document);
        kinds::problems(document).into_iter().map(move |problem| format!("{name}: {problem}"))
    });
    let extra: &[&str] = if what.contains("net-admin") { &[WITHOUT_FENTRY] } else { &[] };
    let all: Vec<_> = each.chain(references::problems(documents, extra)).collect();
    if !all.is_empty() {
        bail!("deploy/kubernetes, {what}:\n{}", all.join("\n"));
    }
    Ok(())
}

/// The operator hands `spec` to Prometheus as it is.
fn promtool_reads_the_rules() -> Result<()> {
    let object = super::document::documents(&rules::object()?)?;
    let spec = object.first().context("an object")?["spec"].to_string();
    let scratch = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    // JSON is YAML.
    std::fs::write(scratch.path(), spec)?;
    let mut check = std::process::Command::new(promtool()?);
    command::run_quiet(check.args(["check", "rules"]).arg(scratch.path()))
}
