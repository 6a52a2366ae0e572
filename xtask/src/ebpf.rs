//! `cargo xtask ebpf`: builds the committed object, or compares it with a new build.

use std::fs;

use anyhow::{Context as _, Result, bail};
use dev_support::outcome::Outcome;
use dev_support::paths;

use crate::builder::{BuildDir, Tools};
use crate::lock::{self, Lock};
use crate::sources;

const STALE: &str = "the eBPF object is older than its sources: run cargo xtask ebpf";

/// Arguments of `cargo xtask ebpf`.
#[derive(clap::Args, Debug)]
pub(crate) struct EbpfArgs {
    /// Only build into a temporary folder and compare with the committed object
    #[arg(long)]
    check: bool,
}

/// Runs `cargo xtask ebpf`.
pub(crate) fn ebpf(args: &EbpfArgs) -> Result<()> {
    if !args.check {
        return update();
    }
    check()?.print();
    Ok(())
}

/// Builds the object and writes it and its lock into the workspace.
fn update() -> Result<()> {
    let root = paths::root();
    let tools = Tools::find(None)?;
    tools.resolve()?;
    let before = sources::sha256(&root)?;
    let object = tools.build(&BuildDir::Kept(paths::target().join("ebpf")))?;
    if sources::sha256(&root)? != before {
        bail!("the eBPF sources changed while they were being built: run cargo xtask ebpf again");
    }
    let lock = Lock {
        sources: before,
        object: sources::sha256_of(&object),
        rustc: tools.rustc(),
        bpf_linker: tools.bpf_linker(),
    };
    let path = lock::object_path(&root);
    fs::write(&path, &object).with_context(|| format!("cannot write {}", path.display()))?;
    lock.write(&root)?;
    println!("wrote rstwatch/ebpf/rstwatch.bpf.o ({} bytes) and its lock", object.len());
    Ok(())
}

/// Builds the object anew and compares it with the committed one.
pub(crate) fn check() -> Result<Outcome> {
    let root = paths::root();
    let lock = Lock::read(&root)?;
    let committed = fs::read(lock::object_path(&root)).context("cannot read rstwatch.bpf.o")?;
    if lock.sources != sources::sha256(&root)? {
        bail!(STALE);
    }
    if lock.object != sources::sha256_of(&committed) {
        bail!("the eBPF object does not match its lock: run cargo xtask ebpf");
    }
    let tools = match Tools::find(Some(&lock.rustc)) {
        Ok(tools) => tools,
        Err(why) => return Ok(Outcome::Skipped(format!("{why:#}"))),
    };
    let (recorded, installed) = (lock.built_by(), tools.describe());
    if recorded != installed {
        let why = format!("the object was built by {recorded}, this machine has {installed}");
        return Ok(Outcome::Skipped(why));
    }
    if tools.build(&BuildDir::temporary()?)? != committed {
        bail!("the eBPF object differs from a new build of its sources: run cargo xtask ebpf");
    }
    Ok(Outcome::Passed)
}
