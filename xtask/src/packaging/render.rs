//! What `kubectl apply -k` would send, without a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::paths;
use serde_json::Value;

use super::document::documents;

/// Where the manifests stand.
pub(crate) fn home() -> PathBuf {
    paths::root().join("deploy/kubernetes")
}

/// The folders that someone may apply, by name.
pub(crate) fn applied() -> Result<Vec<(String, PathBuf)>> {
    let mut all = vec![("base".to_owned(), home().join("base"))];
    all.extend(folders("overlays")?);
    Ok(all)
}

/// The parts that can be added to any of those.
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

/// The same as kubectl writes them.
pub(super) fn text(kubectl: &Path, folder: &Path) -> Result<String> {
    let mut command = Command::new(kubectl);
    // No configuration of a cluster is looked for.
    command.arg("kustomize").arg(folder).env("KUBECONFIG", "/dev/null");
    let done = command.output().context("cannot start kubectl")?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    // Deprecated fields are warned of.
    if !done.status.success() || !complaint.trim().is_empty() {
        bail!("{}: {}", folder.display(), complaint.trim());
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// The documents of the base with components added, as an overlay of a user would.
pub(crate) fn with_components(kubectl: &Path, components: &[PathBuf]) -> Result<Vec<Value>> {
    extended(kubectl, &home().join("base"), components, "")
}

/// The documents of a folder with components added, and with further lines of a kustomization.
pub(super) fn extended(kubectl: &Path, folder: &Path, components: &[PathBuf], more: &str) -> Result<Vec<Value>> {
    // Inside the workspace: kustomize takes relative paths only.
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
