//! Refuses an eBPF object that is not its sources', and tells the daemon what it embeds.

#[path = "ebpf/sources.rs"]
mod sources;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MEND: &str = "run cargo xtask ebpf";

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // Outside the workspace, in a package, there are no sources to compare with.
    let workspace = package.parent().filter(|root| root.join("rstwatch-ebpf").is_dir());
    if let Err(wrong) = embed(&package, workspace) {
        // Cargo ends the build after this line; an exit code would print all of our output.
        println!("cargo::error={wrong}");
        return;
    }
    println!("cargo::rustc-env=RSTWATCH_REVISION={}", revision(&package, workspace));
}

/// Checks the object against its lock, and the lock against the sources.
fn embed(package: &Path, workspace: Option<&Path>) -> Result<(), String> {
    let object = package.join("ebpf/rstwatch.bpf.o");
    let lock = package.join("ebpf/rstwatch.bpf.lock");
    // A folder is watched with all that is in it.
    watch(&[package.join("build.rs"), package.join("ebpf")]);
    let missing = |_| format!("the eBPF object is missing: {MEND}");
    let hash = sources::sha256_of(&fs::read(&object).map_err(missing)?);
    let lock = fs::read_to_string(&lock).map_err(missing)?;
    if sources::lock_value(&lock, "object") != Some(&hash) {
        return Err(format!("the eBPF object is not the one its lock names: {MEND}"));
    }
    if let Some(root) = workspace {
        refuse_stale(root, &lock)?;
    }
    println!("cargo::rustc-env=RSTWATCH_OBJECT_SHA256={hash}");
    Ok(())
}

fn refuse_stale(root: &Path, lock: &str) -> Result<(), String> {
    let inputs = sources::FILES.iter().chain(&sources::FOLDERS);
    watch(&inputs.map(|path| root.join(path)).collect::<Vec<_>>());
    let unreadable = |e| format!("cannot read the eBPF sources: {e}");
    let now = sources::sha256(root).map_err(unreadable)?;
    if sources::lock_value(lock, "sources") != Some(&now) {
        return Err(format!("the eBPF object is older than its sources: {MEND}"));
    }
    Ok(())
}

/// The commit: what the builder says, else what the package says, else git's.
fn revision(package: &Path, workspace: Option<&Path>) -> String {
    println!("cargo::rerun-if-env-changed=RSTWATCH_REVISION");
    let said = env::var("RSTWATCH_REVISION").ok();
    said.filter(|text| !text.is_empty())
        .or_else(|| packaged_revision(package))
        .or_else(|| git_revision(workspace?))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// `cargo package` leaves a note of its commit.
fn packaged_revision(package: &Path) -> Option<String> {
    let note = fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = note.split_once("\"sha1\"")?;
    let sha1 = rest.split('"').nth(1)?;
    sha1.get(..12).map(str::to_owned)
}

fn git_revision(root: &Path) -> Option<String> {
    // The log of HEAD grows with every commit, HEAD itself changes with the branch.
    for name in ["HEAD", "logs/HEAD"] {
        let file = root.join(git(root, &["rev-parse", "--git-path", name])?);
        if file.exists() {
            watch(&[file]);
        }
    }
    git(root, &["rev-parse", "--short=12", "HEAD"])
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    let done = Command::new("git").args(args).current_dir(root).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?.trim().to_owned();
    (done.status.success() && !text.is_empty()).then_some(text)
}

fn watch(paths: &[PathBuf]) {
    for path in paths {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
