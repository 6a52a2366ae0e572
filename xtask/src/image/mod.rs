//! Builds the container image: only the static binary and its licences. buildah builds it from scratch, so no base image is
//! fetched. The check inspects the image and runs it with the privileges that deploy/kubernetes grants.

mod archive;
#[cfg(test)]
mod containerfile;
mod pod;
mod sandbox;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};
use dev_support::{command, paths};

use crate::dist;

pub(crate) use sandbox::run_pod_if_requested;

/// The name of the image, in buildah and in the manifests.
pub(crate) const NAME: &str = "localhost/rstwatch";
/// The default command: an agent that serves only on the container's loopback interface.
const COMMAND: &str = r#"["agent"]"#;
const ENTRYPOINT: &str = r#"["/rstwatch"]"#;
/// Root, because Kubernetes grants added capabilities only to root: see base/daemonset.yaml.
const USER: &str = "0:0";
const PORT: &str = "9877/tcp";
const SIGNAL: &str = "SIGTERM";

/// What `cargo xtask image` accepts.
#[derive(clap::Args, Debug)]
pub(crate) struct ImageArgs {
    /// Inspect the image, and run it with the privileges that deploy/kubernetes grants; needs root
    #[arg(long)]
    check: bool,
}

/// Runs `cargo xtask image`.
pub(crate) fn image(args: &ImageArgs) -> Result<()> {
    setup::ensure(Purpose::Image)?;
    let archive = build()?;
    if args.check {
        check(&archive)?;
    }
    let relative = archive.strip_prefix(paths::root()).unwrap_or(&archive);
    println!("{}  {} bytes, {NAME}:{}", relative.display(), fs::metadata(&archive)?.len(), version());
    Ok(())
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    for purpose in [Purpose::Image, Purpose::Packaging] {
        setup::ensure(purpose)?;
    }
    check(&build()?)?;
    Ok(Outcome::Passed)
}

fn check(archive: &Path) -> Result<()> {
    let unpacked = archive::check(archive)?;
    pod::check(&unpacked)
}

pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The Git commit, as in `rstwatch_build_info`; `unknown` in a source archive.
pub(crate) fn revision() -> String {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short=12", "HEAD"]).current_dir(paths::root());
    command::stdout(&mut git).unwrap_or_else(|| "unknown".to_owned())
}

/// The commit's time in seconds since the epoch, for reproducible builds.
pub(crate) fn epoch() -> String {
    let configured = std::env::var("SOURCE_DATE_EPOCH").ok();
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(paths::root());
    configured.or_else(|| command::stdout(&mut git)).unwrap_or_else(|| "0".to_owned())
}

fn labels() -> Vec<(&'static str, String)> {
    let repository = env!("CARGO_PKG_REPOSITORY").to_owned();
    vec![
        ("org.opencontainers.image.title", "rstwatch".to_owned()),
        ("org.opencontainers.image.description", "Explains every TCP reset of a host by sender and cause".to_owned()),
        ("org.opencontainers.image.version", version().to_owned()),
        ("org.opencontainers.image.revision", revision()),
        ("org.opencontainers.image.source", repository.clone()),
        ("org.opencontainers.image.url", repository),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
    ]
}

/// Builds target/image/rstwatch.tar.
fn build() -> Result<PathBuf> {
    let output = paths::target().join("image");
    let files = output.join("files");
    stage(&dist::build()?, &files)?;
    let archive = output.join("rstwatch.tar");
    if archive.exists() {
        fs::remove_file(&archive)?;
    }
    let container = stdout(buildah(&output).args(["from", "scratch"]))?;
    let committed = commit(&output, &container, &files, &archive);
    // Otherwise the storage would grow with each build.
    command::run_quiet(buildah(&output).args(["rm", &container]))?;
    command::run_quiet(buildah(&output).args(["rmi", "--all", "--force"]))?;
    committed.map(|()| archive)
}

/// Configures the container and commits it to an OCI archive.
fn commit(output: &Path, container: &str, files: &Path, archive: &Path) -> Result<()> {
    command::run_quiet(buildah(output).args(["copy", "--quiet", container]).arg(files).arg("/"))?;
    let mut config = buildah(output);
    config.args(["config", "--entrypoint", ENTRYPOINT, "--cmd", COMMAND, "--user", USER, "--workingdir", "/"]);
    config.args(["--port", PORT, "--stop-signal", SIGNAL]);
    for (key, value) in labels() {
        config.args(["--label", &format!("{key}={value}")]);
    }
    command::run_quiet(config.arg(container))?;
    let to = format!("oci-archive:{}:{NAME}:{}", archive.display(), version());
    let mut commit = buildah(output);
    commit.args(["commit", "--quiet", "--format", "oci", "--disable-compression=false", "--timestamp", &epoch()]);
    command::run_quiet(commit.args([container, &to]))
}

/// Copies the files of the image into a folder with the image's layout.
fn stage(rstwatch: &Path, files: &Path) -> Result<()> {
    if files.exists() {
        fs::remove_dir_all(files)?;
    }
    fs::create_dir_all(files.join("licenses"))?;
    install(rstwatch, &files.join("rstwatch"), 0o755)?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        install(&paths::root().join(licence), &files.join("licenses").join(licence), 0o644)?;
    }
    for folder in [files, &files.join("licenses")] {
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

/// Copies a file and sets its mode, regardless of the umask.
pub(crate) fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(())
}

/// buildah with private storage, without a container runtime.
fn buildah(output: &Path) -> Command {
    let mut command = Command::new("buildah");
    let storage = output.join("buildah");
    command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
    command.args(["--storage-driver", "vfs"]).env("BUILDAH_ISOLATION", "chroot");
    command
}

fn stdout(command: &mut Command) -> Result<String> {
    command::stdout(command).context("buildah failed: run it manually to see the error")
}
