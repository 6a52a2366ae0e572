//! Builds the kernel side to the same bytes, wherever it is built.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use dev_support::{command, paths};

use crate::linker::{self, Linker};
use crate::toolchain::{self, Toolchain};
use crate::{flags, lock, strip, wrapper};

/// The eBPF virtual machine, little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Where a build puts its files.
pub(crate) enum Place {
    /// A folder that the next build finds again.
    Kept(PathBuf),
    /// One that nothing was ever built in, gone afterwards.
    Temporary(tempfile::TempDir),
}

impl Place {
    /// A new folder under the target folder, for the disk there is known to hold builds.
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
    /// Finds or installs them; prefers the rustc of the given version line.
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

    /// Both, for people.
    pub(crate) fn describe(&self) -> String {
        lock::describe(&self.toolchain.version, &self.linker.version)
    }

    /// Brings Cargo.lock up to date with Cargo.toml, and the crates onto this machine.
    pub(crate) fn resolve(&self) -> Result<()> {
        command::run(self.cargo().args(["fetch", "--quiet"]))
    }

    /// Builds the object, without DWARF.
    pub(crate) fn build(&self, place: &Place) -> Result<Vec<u8>> {
        // The crates' sources must stand where they will be named before they are named.
        command::run(self.cargo().args(["fetch", "--quiet", "--locked"]))?;
        let wrapper = wrapper::install(place.path())?;
        let mut cargo = self.cargo();
        cargo
            .args(["build", "--release", "--locked", "--target", TARGET])
            .args(["-Z", "build-std=core", "--target-dir"])
            .arg(place.path())
            .env("RUSTC_WRAPPER", &wrapper)
            .env(wrapper::ASKED, "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags::encoded(&self.toolchain));
        command::run(&mut cargo)?;
        let file = place.path().join(TARGET).join("release/rstwatch");
        let object = fs::read(&file).with_context(|| format!("no {}", file.display()))?;
        strip::debug(&object)
    }

    /// The toolchain's Cargo in rstwatch-ebpf. Only this child may use what is unstable.
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
