//! Builds the kernel side reproducibly: to the same bytes on every machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use dev_support::{command, paths};

use crate::flags::TARGET;
use crate::linker::{self, Linker};
use crate::toolchain::{self, Toolchain};
use crate::{flags, lock, strip, wrapper};

/// The folder of a build.
pub(crate) enum BuildDir {
    /// Kept for the next build.
    Kept(PathBuf),
    /// New, and removed afterwards.
    Temporary(tempfile::TempDir),
}

impl BuildDir {
    /// A new folder in the target folder, because that disk has space for builds.
    pub(crate) fn temporary() -> Result<Self> {
        let target = paths::target();
        fs::create_dir_all(&target)?;
        let folder = tempfile::Builder::new()
            .prefix("ebpf-check-")
            .tempdir_in(&target)
            .with_context(|| format!("cannot make a folder in {}", target.display()))?;
        Ok(Self::Temporary(folder))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// The compiler and the linker of the kernel side.
pub(crate) struct Tools {
    toolchain: Toolchain,
    linker: Linker,
}

impl Tools {
    /// Finds or installs them; prefers the rustc with the given version line.
    pub(crate) fn find(rustc: Option<&str>) -> Result<Self> {
        let toolchain = toolchain::find(rustc)?;
        let linker = linker::find(&toolchain)?;
        Ok(Self { toolchain, linker })
    }

    /// The line of `rustc --version`.
    pub(crate) fn rustc(&self) -> String {
        self.toolchain.version.clone()
    }

    /// bpf-linker's version and its LLVM's.
    pub(crate) fn bpf_linker(&self) -> String {
        self.linker.version.clone()
    }

    /// Both versions, for messages.
    pub(crate) fn describe(&self) -> String {
        lock::describe(&self.toolchain.version, &self.linker.version)
    }

    /// Updates Cargo.lock to match Cargo.toml, and downloads the crates.
    pub(crate) fn resolve(&self) -> Result<()> {
        command::run(self.cargo().args(["fetch", "--quiet"]))
    }

    /// Builds the object, without DWARF.
    pub(crate) fn build(&self, dir: &BuildDir) -> Result<Vec<u8>> {
        // The flags name the folders of the crates' sources, so these must be downloaded first.
        command::run(self.cargo().args(["fetch", "--quiet", "--locked"]))?;
        let wrapper = wrapper::install(dir.path())?;
        let mut cargo = self.cargo();
        cargo
            .args(["build", "--release", "--locked", "--target", TARGET])
            .args(["-Z", "build-std=core", "--target-dir"])
            .arg(dir.path())
            .env("RUSTC_WRAPPER", &wrapper)
            .env(wrapper::ROLE, "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags::encoded(&self.toolchain));
        command::run(&mut cargo)?;
        let file = dir.path().join(TARGET).join("release/rstwatch");
        let object = fs::read(&file).with_context(|| format!("no {}", file.display()))?;
        strip::debug(&object)
    }

    /// The toolchain's Cargo, in rstwatch-ebpf. Only this process may use unstable features.
    fn cargo(&self) -> Command {
        let mut cargo = Command::new(&self.toolchain.cargo);
        toolchain::scrub(&mut cargo);
        let rest = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([self.linker.folder.clone()].into_iter().chain(env::split_paths(&rest)));
        cargo
            .current_dir(paths::root().join("rstwatch-ebpf"))
            .env("PATH", path.unwrap_or(rest))
            .env("RUSTC", &self.toolchain.rustc)
            .env("RUSTC_BOOTSTRAP", "1");
        cargo
    }
}
