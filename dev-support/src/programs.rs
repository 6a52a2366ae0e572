//! Programs that the lab runs. If one is missing, its Debian package and that package's missing dependencies are unpacked below
//! the target directory, not installed: installing would start services on this machine.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs::{self, read_dir};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::apt_get;
use crate::{command, paths};

/// Programs, and the packages that contain them.
const PACKAGES: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    ("memcached", "memcached"),
    ("postgres", "postgresql"),
    ("initdb", "postgresql"),
    ("mariadbd", "mariadb-server-core"),
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("python3", "python3"),
    ("gunicorn", "gunicorn"),
    ("node", "nodejs"),
    ("openssl", "openssl"),
];

/// Finds a program on this machine or among the unpacked packages.
pub fn find(name: &str) -> Option<PathBuf> {
    let file = |folder: PathBuf| Some(folder.join(name)).filter(|file| file.is_file());
    let installed = || postgresql_folders(Path::new("/usr")).into_iter().find_map(file);
    paths::program(name).or_else(installed).or_else(|| {
        let usr = unpacked(name)?.join("usr");
        [usr.join("bin"), usr.join("sbin")].into_iter().chain(postgresql_folders(&usr)).find_map(file)
    })
}

/// The command that starts a program with the libraries and Python modules of its package.
pub fn start(name: &str) -> Result<Command> {
    let file = find(name).with_context(|| format!("no program {name}"))?;
    let mut command = Command::new(&file);
    if let Some(root) = unpacked(name).filter(|root| file.starts_with(root)) {
        command.env("LD_LIBRARY_PATH", libraries(&root)?);
        command.env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"));
    }
    Ok(command)
}

/// The command that starts a program through another one, such as `setpriv` or an interpreter.
pub fn through(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    outer
}

/// Unpacks the packages of those programs that are missing. Programs without a package in the table are left out.
pub fn unpack(wanted: &[&str]) -> Result<()> {
    let missing = |(program, _): &&(&str, &str)| wanted.contains(program) && find(program).is_none();
    let missing: Vec<_> = PACKAGES.iter().filter(missing).collect();
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.iter().copied().collect::<Vec<_>>().join(" ");
    if paths::program("apt-get").is_none() {
        bail!("missing: {list}, and there is no apt-get: install the programs of these Debian packages");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {list}: run as root, or install them");
    }
    eprintln!("unpacking {list}");
    command::run_quiet(apt_get().arg("update"))?;
    packages.into_iter().try_for_each(unpack_one)?;
    missing.iter().try_for_each(|(program, package)| {
        find(program).map(drop).with_context(|| format!("the package {package} has no program {program}"))
    })
}

/// Downloads and unpacks a package and its missing dependencies. The package's directory appears only when it is complete.
fn unpack_one(package: &str) -> Result<()> {
    let new = home().join(format!("{package}.new"));
    let archives = new.join("archives");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(archives.join("partial")).with_context(|| format!("cannot create {}", archives.display()))?;
    let mut download = apt_get();
    download.args(["install", "--download-only", "-y", "--no-install-recommends"]);
    // The machine's own package state is only read.
    download.args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o"]);
    download.arg(format!("Dir::Cache::archives={}", archives.display())).arg(package);
    command::run_quiet(&mut download)?;
    for file in read_dir(&archives)?.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        if file.extension().is_some_and(|extension| extension == "deb") {
            command::run_quiet(Command::new("dpkg-deb").arg("-x").args([&file, &new]))?;
        }
    }
    fs::remove_dir_all(&archives)?;
    let old = home().join(package);
    let _ = fs::remove_dir_all(&old);
    fs::rename(&new, old).context("cannot keep the unpacked package")
}

fn home() -> PathBuf {
    paths::target().join("programs")
}

/// The directory with the unpacked package of a program, if it exists.
fn unpacked(program: &str) -> Option<PathBuf> {
    let (_, package) = PACKAGES.iter().find(|(of, _)| *of == program)?;
    Some(home().join(package)).filter(|root| root.is_dir())
}

/// Debian keeps PostgreSQL's programs in a directory for each version.
fn postgresql_folders(usr: &Path) -> Vec<PathBuf> {
    let versions = read_dir(usr.join("lib/postgresql"));
    versions.into_iter().flatten().flatten().map(|version| version.path().join("bin")).collect()
}

/// The directories of shared libraries, for any architecture.
fn libraries(root: &Path) -> Result<OsString> {
    let entries = |folder: &str| read_dir(root.join(folder)).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders =
        entries("usr/lib").chain(entries("lib")).filter(|folder| folder.to_string_lossy().ends_with("-linux-gnu"));
    env::join_paths(folders).context("the target directory's path has a colon in it: move it")
}
