//! Runs the fuzz targets on their seeds and on earlier findings, so that `cargo test` covers them.

use std::fs;
use std::path::{Path, PathBuf};

pub mod fuzzed;

const REWRITE: &str = "rewrite them: UPDATE_EXPECT=1 cargo test -p rstwatch -p rstwatch-verdict --lib seeds";

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).expect("the folder of seeds");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.clone(), fs::read(path).expect("a seed"))).collect()
}

/// Whether a fuzzer wrote this file. Such inputs may be of an older wire format.
fn is_finding(path: &Path) -> bool {
    let name = path.file_name().expect("a name").to_string_lossy();
    ["crash-", "oom-", "timeout-", "slow-unit-"].iter().any(|prefix| name.starts_with(prefix))
}

#[test]
fn no_reset_is_lost_or_invented() {
    let seeds = seeds("decode");
    assert!(seeds.len() > 10, "seeds are missing: {REWRITE}");
    for (path, bytes) in &seeds {
        let whole = fuzzed::decode::run(bytes);
        assert!(whole > 0 || is_finding(path), "{} is of another wire format; {REWRITE}", path.display());
    }
}

#[test]
fn btf_seeds_are_parsed() {
    let seeds = seeds("btf");
    assert!(!seeds.is_empty(), "seeds are missing: {REWRITE}");
    for (path, bytes) in &seeds {
        assert!(fuzzed::btf::run(bytes) || is_finding(path), "{} is not BTF; {REWRITE}", path.display());
    }
}

/// The running kernel's BTF, which is too large for a seed.
#[test]
fn the_running_kernels_btf_is_parsed() {
    let Ok(bytes) = fs::read(rstwatch::kernel::btf::VMLINUX) else {
        eprintln!("skipped: this kernel has no BTF in /sys/kernel/btf");
        return;
    };
    assert!(fuzzed::btf::run(&bytes));
}
