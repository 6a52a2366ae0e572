//! Kernels from Debian's archive, unpacked and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use dev_support::command;

use super::apt::Apt;
use super::index::Package;

/// Kernels of a series to try: the index may name some that are no longer in the archive.
const TRIES: usize = 3;

/// A kernel to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    pub(crate) modules: PathBuf,
}

/// The newest kernel of a series that the archive still has.
pub(crate) fn newest(apt: &Apt, series: &str, home: &Path) -> Result<Kernel> {
    let mut newer = None;
    for package in apt.images(series)?.iter().take(TRIES) {
        match unpacked(apt, package, home) {
            Ok(kernel) => return Ok(kernel),
            Err(why) => {
                eprintln!("{series}: cannot fetch {}: {why:#}", package.exactly());
                newer = newer.or(Some(why));
            }
        }
    }
    Err(newer.unwrap_or_else(|| anyhow::anyhow!("no cloud kernel {series} in the index")))
}

/// The package's kernel: from an earlier run, else fetched now.
fn unpacked(apt: &Apt, package: &Package, home: &Path) -> Result<Kernel> {
    let folder = home.join(format!("kernel-{}", package.version));
    if !folder.is_dir() {
        let unfinished = home.join("unfinished");
        remove(&unfinished)?;
        fetch(apt, package, &unfinished).or_else(|why| remove(&unfinished).and(Err(why)))?;
        remove_older(home)?;
        fs::rename(&unfinished, &folder)?;
    }
    find(&folder, package.release())
}

fn fetch(apt: &Apt, package: &Package, into: &Path) -> Result<()> {
    let packages = into.join("packages");
    apt.download(&package.parts(), &packages)?;
    for file in fs::read_dir(&packages)? {
        command::run_quiet(Command::new("dpkg-deb").arg("-x").arg(file?.path()).arg(into))?;
    }
    Ok(fs::remove_dir_all(&packages)?)
}

/// Removes the kernels of earlier runs.
fn remove_older(home: &Path) -> Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("kernel-") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Finds the image and the modules, whose paths differ between releases of Debian.
fn find(folder: &Path, release: &str) -> Result<Kernel> {
    let modules = ["lib/modules", "usr/lib/modules"].map(|dir| folder.join(dir).join(release));
    let Some(modules) = modules.into_iter().find(|dir| dir.join("kernel").is_dir()) else {
        bail!("no modules of {release} in its package");
    };
    let images = [folder.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let Some(image) = images.into_iter().find(|file| file.is_file()) else {
        bail!("no image of {release} in its package");
    };
    Ok(Kernel { release: release.to_owned(), image, modules })
}
