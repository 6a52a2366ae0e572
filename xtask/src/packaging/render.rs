//! Renders manifests as `kubectl apply -k` would, without a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::paths;
use serde_json::Value;

use super::document::documents;

/// The folder of the manifests.
pub(crate) fn home() -> PathBuf {
    paths::root().join("deploy/kubernetes")
}

/// The folders that can be applied, by name.
pub(crate) fn applied() -> Result<Vec<(String, PathBuf)>> {
    let mut all = vec![("base".to_owned(), home().join("base"))];
    all.extend(folders("overlays")?);
    Ok(all)
}

/// The components that can be added to them, by name.
pub(crate) fn components() -> Result<Vec<(String, PathBuf)>> {
    folders("components")
}

fn folders(part: &str) -> Result<Vec<(String, PathBuf)>> {
    let listed = fs::read_dir(home().join(part)).with_context(|| format!("deploy/kubernetes/{part}"))?;
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry?;
        found.push((format!("{part}/{}", entry.file_name().display()), entry.path()));
    }
    found.sort();
    if found.is_empty() {
        bail!("deploy/kubernetes/{part} is empty");
    }
    Ok(found)
}

/// The documents of a folder.
pub(crate) fn render(kubectl: &Path, folder: &Path) -> Result<Vec<Value>> {
    documents(&text(kubectl, folder)?)
}

/// The same as YAML text.
pub(super) fn text(kubectl: &Path, folder: &Path) -> Result<String> {
    let mut command = Command::new(kubectl);
    // Do not read the user's cluster configuration.
    command.arg("kustomize").arg(folder).env("KUBECONFIG", "/dev/null");
    let done = command.output().context("cannot start kubectl")?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    // kubectl warns about deprecated fields.
    if !done.status.success() || !complaint.trim().is_empty() {
        bail!("{}: {}", folder.display(), complaint.trim());
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// The documents of the base with components, as in a user's overlay.
pub(crate) fn with_components(kubectl: &Path, components: &[PathBuf]) -> Result<Vec<Value>> {
    extended(kubectl, &home().join("base"), components, "")
}

/// The documents of a folder with components and additional lines in the kustomization.
pub(super) fn extended(kubectl: &Path, folder: &Path, components: &[PathBuf], more: &str) -> Result<Vec<Value>> {
    // In the workspace, because kustomize accepts only relative paths.
    let scratch = tempfile::Builder::new().prefix(".kustomize").tempdir_in(paths::root())?;
    let path = |folder: &Path| -> Result<String> {
        let inside = folder.strip_prefix(paths::root())?;
        Ok(format!("../{}", inside.display()))
    };
    let mut text = format!("resources: [{}]\ncomponents:\n", path(folder)?);
    for component in components {
        text.push_str(&format!("- {}\n", path(component)?));
    }
    text.push_str(more);
    fs::write(scratch.path().join("kustomization.yaml"), text)?;
    render(kubectl, scratch.path())
}
