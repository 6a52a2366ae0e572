//! Replays the seeds of the fuzz targets, and whatever they found: an ordinary test run covers both targets' bodies.

use std::fs;
use std::path::{Path, PathBuf};

pub mod fuzzed;

const AGAIN: &str = "write them anew: UPDATE_EXPECT=1 cargo test -p rstwatch -p rstwatch-verdict --lib seeds";

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).expect("the folder of seeds");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.clone(), fs::read(path).expect("a seed"))).collect()
}

/// What a fuzzer found keeps its name; it may be of another wire by now.
fn is_found(path: &Path) -> bool {
    let name = path.file_name().expect("a name").to_string_lossy();
    ["crash-", "oom-", "timeout-", "slow-unit-"].iter().any(|prefix| name.starts_with(prefix))
}

#[test]
fn records_keep_the_books() {
    let seeds = seeds("decode");
    assert!(seeds.len() > 10, "seeds are missing: {AGAIN}");
    for (path, bytes) in &seeds {
        let whole = fuzzed::decode::run(bytes);
        assert!(whole > 0 || is_found(path), "{} is of another wire; {AGAIN}", path.display());
    }
}

#[test]
fn btf_is_answered() {
    let seeds = seeds("btf");
    assert!(!seeds.is_empty(), "seeds are missing: {AGAIN}");
    for (path, bytes) in &seeds {
        assert!(fuzzed::btf::run(bytes) || is_found(path), "{} is no BTF; {AGAIN}", path.display());
    }
}

/// The running kernel's own, too large to be kept.
#[test]
fn the_running_kernels_btf_is_answered() {
    let Ok(bytes) = fs::read(rstwatch::kernel::btf::VMLINUX) else {
        eprintln!("skipped: this kernel shows no BTF");
        return;
    };
    assert!(fuzzed::btf::run(&bytes));
}
