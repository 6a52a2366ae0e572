//! Checks that the committed eBPF object matches its sources, and passes its hash and the revision to the daemon.

#[path = "ebpf/sources.rs"]
mod sources;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const REMEDY: &str = "run cargo xtask ebpf";

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // A published package contains no sources to compare with.
    let workspace = package.parent().filter(|root| root.join("rstwatch-ebpf").is_dir());
    if let Err(problem) = check_object(&package, workspace) {
        // Cargo fails the build after this line. An exit code would also print the whole output of this script.
        println!("cargo::error={problem}");
        return;
    }
    println!("cargo::rustc-env=RSTWATCH_REVISION={}", revision(&package, workspace));
}

/// Checks the object against its lock, and the lock against the sources.
fn check_object(package: &Path, workspace: Option<&Path>) -> Result<(), String> {
    let object = package.join("ebpf/rstwatch.bpf.o");
    let lock = package.join("ebpf/rstwatch.bpf.lock");
    // Cargo watches a folder with all its contents.
    watch(&[package.join("build.rs"), package.join("ebpf")]);
    let missing = |_| format!("the eBPF object is missing: {REMEDY}");
    let hash = sources::sha256_of(&fs::read(&object).map_err(missing)?);
    let lock = fs::read_to_string(&lock).map_err(missing)?;
    if sources::lock_value(&lock, "object") != Some(&hash) {
        return Err(format!("the eBPF object does not match its lock: {REMEDY}"));
    }
    if let Some(root) = workspace {
        check_sources(root, &lock)?;
    }
    println!("cargo::rustc-env=RSTWATCH_OBJECT_SHA256={hash}");
    Ok(())
}

/// Checks that the sources are those that the object was built from.
fn check_sources(root: &Path, lock: &str) -> Result<(), String> {
    let inputs = sources::FILES.iter().chain(&sources::FOLDERS);
    watch(&inputs.map(|path| root.join(path)).collect::<Vec<_>>());
    let unreadable = |e| format!("cannot read the eBPF sources: {e}");
    let now = sources::sha256(root).map_err(unreadable)?;
    if sources::lock_value(lock, "sources") != Some(&now) {
        return Err(format!("the eBPF object is older than its sources: {REMEDY}"));
    }
    Ok(())
}

/// The commit: from the environment, else from the package, else from git.
fn revision(package: &Path, workspace: Option<&Path>) -> String {
    println!("cargo::rerun-if-env-changed=RSTWATCH_REVISION");
    let given = env::var("RSTWATCH_REVISION").ok();
    given
        .filter(|text| !text.is_empty())
        .or_else(|| packaged_revision(package))
        .or_else(|| git_revision(workspace?))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The commit that `cargo package` records.
fn packaged_revision(package: &Path) -> Option<String> {
    let note = fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = note.split_once("\"sha1\"")?;
    let sha1 = rest.split('"').nth(1)?;
    sha1.get(..12).map(str::to_owned)
}

fn git_revision(root: &Path) -> Option<String> {
    // Every commit appends to the log of HEAD; changing the branch changes HEAD itself.
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
