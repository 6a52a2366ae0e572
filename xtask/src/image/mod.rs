//! The container image: nothing but the static daemon and its licences. Built by buildah from nothing, so that no base image
//! is fetched; looked into; and run under the rights of deploy/kubernetes.

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

pub(crate) use sandbox::become_pod_if_requested;

/// What `buildah` and the manifests call it.
pub(crate) const NAME: &str = "localhost/rstwatch";
/// What a container without arguments runs: it serves on its own loopback alone.
const COMMAND: &str = r#"["agent"]"#;
const ENTRYPOINT: &str = r#"["/rstwatch"]"#;
/// Capabilities go to root alone: base/daemonset.yaml tells why.
const USER: &str = "0:0";
const PORT: &str = "9877/tcp";
const SIGNAL: &str = "SIGTERM";

/// What `cargo xtask image` accepts.
#[derive(clap::Args, Debug)]
pub(crate) struct ImageArgs {
    /// Look into the image, and run it under the rights of deploy/kubernetes; needs root
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
    let near = archive.strip_prefix(paths::root()).unwrap_or(&archive);
    println!("{}  {} bytes, {NAME}:{}", near.display(), fs::metadata(&archive)?.len(), version());
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

/// The commit, as in `rstwatch_build_info`; an archive of sources has none.
pub(crate) fn revision() -> String {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short=12", "HEAD"]).current_dir(paths::root());
    command::stdout(&mut git).unwrap_or_else(|| "unknown".to_owned())
}

/// When the commit was made, in seconds: two builds of it are alike.
pub(crate) fn epoch() -> String {
    let asked = std::env::var("SOURCE_DATE_EPOCH").ok();
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(paths::root());
    asked.or_else(|| command::stdout(&mut git)).unwrap_or_else(|| "0".to_owned())
}

fn labels() -> Vec<(&'static str, String)> {
    let repository = env!("CARGO_PKG_REPOSITORY").to_owned();
    vec![
        ("org.opencontainers.image.title", "rstwatch".to_owned()),
        ("org.opencontainers.image.description", "Says who sent each TCP reset of a host, and why".to_owned()),
        ("org.opencontainers.image.version", version().to_owned()),
        ("org.opencontainers.image.revision", revision()),
        ("org.opencontainers.image.source", repository.clone()),
        ("org.opencontainers.image.url", repository),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
    ]
}

/// Builds target/image/rstwatch.tar.
fn build() -> Result<PathBuf> {
    let room = paths::target().join("image");
    let files = room.join("files");
    stage(&dist::build()?, &files)?;
    let archive = room.join("rstwatch.tar");
    if archive.exists() {
        fs::remove_file(&archive)?;
    }
    let container = say(buildah(&room).args(["from", "scratch"]))?;
    let made = commit(&room, &container, &files, &archive);
    // Storage is ours alone, but would grow.
    command::run_quiet(buildah(&room).args(["rm", &container]))?;
    command::run_quiet(buildah(&room).args(["rmi", "--all", "--force"]))?;
    made.map(|()| archive)
}

fn commit(room: &Path, container: &str, files: &Path, archive: &Path) -> Result<()> {
    command::run_quiet(buildah(room).args(["copy", "--quiet", container]).arg(files).arg("/"))?;
    let mut config = buildah(room);
    config.args(["config", "--entrypoint", ENTRYPOINT, "--cmd", COMMAND, "--user", USER, "--workingdir", "/"]);
    config.args(["--port", PORT, "--stop-signal", SIGNAL]);
    for (key, value) in labels() {
        config.args(["--label", &format!("{key}={value}")]);
    }
    command::run_quiet(config.arg(container))?;
    let to = format!("oci-archive:{}:{NAME}:{}", archive.display(), version());
    let mut commit = buildah(room);
    commit.args(["commit", "--quiet", "--format", "oci", "--disable-compression=false", "--timestamp", &epoch()]);
    command::run_quiet(commit.args([container, &to]))
}

/// The files of the image, in a folder as they lie in it.
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

/// Copies a file, with these rights whatever the umask.
pub(crate) fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(())
}

/// buildah with storage of its own, without a container runtime.
fn buildah(room: &Path) -> Command {
    let mut command = Command::new("buildah");
    let storage = room.join("buildah");
    command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
    command.args(["--storage-driver", "vfs"]).env("BUILDAH_ISOLATION", "chroot");
    command
}

fn say(command: &mut Command) -> Result<String> {
    command::stdout(command).context("buildah failed: run it by hand to see why")
}
