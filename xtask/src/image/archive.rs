//! Checks the OCI archive: one layer with the binary and its licences, and the image configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use dev_support::{command, paths};
use serde_json::{Value, json};

use super::{USER, labels, version};
use crate::sources;

/// The contents of the layer.
const FILES: [&str; 4] = [
    "drwxr-xr-x licenses/",
    "-rw-r--r-- licenses/LICENSE-APACHE",
    "-rw-r--r-- licenses/LICENSE-MIT",
    "-rwxr-xr-x rstwatch",
];

/// Checks the archive and unpacks its layer. Returns the container's root folder.
pub(super) fn check(archive: &Path) -> Result<PathBuf> {
    let unpacked = paths::target().join("image/unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    let (oci, root) = (unpacked.join("oci"), unpacked.join("root"));
    fs::create_dir_all(&oci)?;
    fs::create_dir_all(&root)?;
    command::run_quiet(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&oci))?;
    let index: Value = serde_json::from_slice(&fs::read(oci.join("index.json"))?)?;
    let manifests = index["manifests"].as_array().context("no manifests")?;
    ensure!(manifests.len() == 1, "{} manifests, not 1", manifests.len());
    let named = &manifests[0]["annotations"]["org.opencontainers.image.ref.name"];
    ensure!(*named == format!("{}:{}", super::NAME, version()), "the image is named {named}");
    let manifest: Value = serde_json::from_slice(&blob(&oci, &manifests[0])?)?;
    let config: Value = serde_json::from_slice(&blob(&oci, &manifest["config"])?)?;
    check_config(&config)?;
    let layers = manifest["layers"].as_array().context("no layers")?;
    ensure!(layers.len() == 1, "{} layers, not 1", layers.len());
    let layer = unpacked.join("layer.tar.gz");
    fs::write(&layer, blob(&oci, &layers[0])?)?;
    check_layer(&layer)?;
    command::run_quiet(Command::new("tar").arg("-xzpf").arg(&layer).arg("-C").arg(&root))?;
    Ok(root)
}

/// Reads a blob and verifies its digest and size.
fn blob(oci: &Path, descriptor: &Value) -> Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).context("a digest")?;
    let data = fs::read(oci.join("blobs/sha256").join(digest))?;
    ensure!(sources::sha256_of(&data) == digest, "{digest}: the content has another digest");
    ensure!(descriptor["size"] == data.len(), "{digest}: the size differs from its descriptor");
    Ok(data)
}

/// The image configuration must be ours.
fn check_config(image: &Value) -> Result<()> {
    let labels: serde_json::Map<_, _> =
        labels().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let config = &image["config"];
    let wanted = [
        ("Entrypoint", json!(["/rstwatch"])),
        ("Cmd", json!(["agent"])),
        ("User", json!(USER)),
        ("StopSignal", json!("SIGTERM")),
        ("ExposedPorts", json!({ "9877/tcp": {} })),
    ];
    for (key, wanted) in wanted {
        ensure!(config[key] == wanted, "{key} is {}, not {wanted}", config[key]);
    }
    for (key, wanted) in labels {
        ensure!(config["Labels"][&key] == wanted, "{key} is {}, not {wanted}", config["Labels"][&key]);
    }
    ensure!(image["os"] == "linux", "os: {}", image["os"]);
    Ok(())
}

/// The layer must contain exactly [`FILES`], all owned by root.
fn check_layer(layer: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    let text = command::stdout(tar.args(["--numeric-owner", "-tvzf"]).arg(layer)).context("cannot list the layer")?;
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, .., name] = &*words else { continue };
        ensure!(*owner == "0/0", "{name} is owned by {owner}");
        found.push(format!("{mode} {name}"));
    }
    found.sort();
    let mut wanted: Vec<_> = FILES.iter().map(ToString::to_string).collect();
    wanted.sort();
    ensure!(found == wanted, "the layer contains {found:?}, not {wanted:?}");
    Ok(())
}
