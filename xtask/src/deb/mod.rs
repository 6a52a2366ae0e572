//! Builds the Debian package: the static binary, its unit, configuration, man pages and completions. Uses only dpkg-deb and
//! deploy/debian.

mod container;
mod lifecycle;

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};
use dev_support::{command, paths};

use crate::dist;
use crate::image::{epoch, install, version};
use crate::packaging::{manual, unit};

/// What `cargo xtask deb` accepts.
#[derive(clap::Args, Debug)]
pub(crate) struct DebArgs {
    /// Run lintian, then install, run and remove the package in a container with systemd; needs root
    #[arg(long)]
    check: bool,
}

/// Runs `cargo xtask deb`.
pub(crate) fn deb(args: &DebArgs) -> Result<()> {
    let file = build()?;
    if args.check {
        check(&file)?;
    }
    let relative = file.strip_prefix(paths::root()).unwrap_or(&file);
    println!("{}  {} bytes", relative.display(), fs::metadata(&file)?.len());
    Ok(())
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    check(&build()?)?;
    Ok(Outcome::Passed)
}

fn check(file: &Path) -> Result<()> {
    setup::ensure(Purpose::Debian)?;
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--allow-root"]).arg(file);
    command::run_quiet(&mut lintian)?;
    lifecycle::check(file)
}

fn home() -> PathBuf {
    paths::root().join("deploy/debian")
}

/// Builds target/deb/rstwatch_VERSION-1_ARCHITECTURE.deb.
fn build() -> Result<PathBuf> {
    let output = paths::target().join("deb");
    let root = output.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    stage(&root)?;
    control(&root)?;
    let file = output.join(format!("rstwatch_{}-1_{}.deb", version(), architecture()?));
    let mut pack = Command::new("dpkg-deb");
    // Reproducible: the timestamps are those of the commit.
    pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(&file).env("SOURCE_DATE_EPOCH", epoch());
    command::run_quiet(&mut pack)?;
    Ok(file)
}

fn architecture() -> Result<&'static str> {
    Ok(match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no package for {other}"),
    })
}

/// Places the installed files below `root`.
fn stage(root: &Path) -> Result<()> {
    let put = |from: &Path, to: &str, mode: u32| {
        let to = root.join(to);
        folder(root, to.parent().context("a folder")?)?;
        install(from, &to, mode)
    };
    put(&dist::build()?, "usr/bin/rstwatch", 0o755)?;
    put(&unit::file(), "lib/systemd/system/rstwatch.service", 0o644)?;
    put(&home().join("config.toml"), "etc/rstwatch/config.toml", 0o644)?;
    put(&home().join("copyright"), "usr/share/doc/rstwatch/copyright", 0o644)?;
    put(&home().join("lintian-overrides"), "usr/share/lintian/overrides/rstwatch", 0o644)?;
    put(&paths::root().join("CHANGELOG.md"), "usr/share/doc/rstwatch/changelog", 0o644)?;
    let manual = manual::write()?;
    for page in fs::read_dir(manual.join("man"))? {
        let page = page?;
        put(&page.path(), &format!("usr/share/man/man1/{}", page.file_name().display()), 0o644)?;
    }
    let completions = manual.join("completions");
    put(&completions.join("rstwatch"), "usr/share/bash-completion/completions/rstwatch", 0o644)?;
    put(&completions.join("_rstwatch"), "usr/share/zsh/vendor-completions/_rstwatch", 0o644)?;
    put(&completions.join("rstwatch.fish"), "usr/share/fish/vendor_completions.d/rstwatch.fish", 0o644)?;
    fs::write(root.join("usr/share/doc/rstwatch/changelog.Debian"), changelog()?)?;
    compress(root)
}

/// Creates a folder and its parents with mode 0755, regardless of the umask.
fn folder(root: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

/// The changelog of the packaging, which Debian policy requires in addition to the program's.
fn changelog() -> Result<String> {
    let mut date = Command::new("date");
    let date =
        command::stdout(date.args(["-R", "-u", "-d", &format!("@{}", epoch())]).env("LC_ALL", "C")).context("date")?;
    let control = fs::read_to_string(home().join("control"))?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: ")).context("a maintainer")?;
    let version = version();
    Ok(format!(
        "rstwatch ({version}-1) unstable; urgency=medium\n\n  * Version {version}.\n\n -- {maintainer}  {date}\n"
    ))
}

/// Compresses man pages and changelogs; without timestamps, so that builds are reproducible.
fn compress(root: &Path) -> Result<()> {
    let share = root.join("usr/share");
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "-n"]);
    for folder in ["man/man1", "doc/rstwatch"] {
        for file in fs::read_dir(share.join(folder))? {
            let file = file?.path();
            if !file.ends_with("copyright") {
                fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
                gzip.arg(file);
            }
        }
    }
    command::run_quiet(&mut gzip)
}

/// Writes the control files in DEBIAN/.
fn control(root: &Path) -> Result<()> {
    let bytes: u64 = files(root)?.iter().map(|file| Ok(fs::metadata(root.join(file))?.len())).sum::<Result<u64>>()?;
    let to = root.join("DEBIAN");
    folder(root, &to)?;
    let text = fs::read_to_string(home().join("control"))?;
    let text = text.replace("@VERSION@", version()).replace("@ARCHITECTURE@", architecture()?);
    fs::write(to.join("control"), text.replace("@SIZE@", &bytes.div_ceil(1024).to_string()))?;
    fs::write(to.join("conffiles"), "/etc/rstwatch/config.toml\n")?;
    let mut sums = Command::new("md5sum");
    let listed: Vec<_> =
        files(root)?.into_iter().filter(|file| !file.starts_with("DEBIAN") && !file.starts_with("etc")).collect();
    let sums = command::stdout(sums.args(&listed).current_dir(root)).context("md5sum")?;
    fs::write(to.join("md5sums"), format!("{sums}\n"))?;
    for file in ["control", "conffiles", "md5sums"] {
        fs::set_permissions(to.join(file), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    }
    for script in ["postinst", "prerm", "postrm"] {
        install(&home().join(script), &to.join(script), 0o755)?;
    }
    Ok(())
}

/// All files below a folder, sorted, with relative paths.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
