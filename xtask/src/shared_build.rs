//! A step of `cargo xtask test`: `cargo build --release` in a shell reuses the release build of `cargo xtask`.

use std::env;

use anyhow::{Context as _, Result, ensure};
use dev_support::cargo::{build_release, release_build};
use dev_support::outcome::Outcome;

/// Variables by which users configure Cargo. A shell has no other variables that begin with `CARGO`.
const CONFIGURATION: [&str; 11] = [
    "CARGO_BUILD_",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_INCREMENTAL",
    "CARGO_NET_",
    "CARGO_PROFILE_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TARGET_",
    "CARGO_TERM_",
];

/// Builds as `cargo xtask` does, then as a shell does: the second build must find nothing to compile.
pub(crate) fn step() -> Result<Outcome> {
    build_release()?;
    let mut shell = release_build();
    for (name, _) in env::vars_os().filter(|(name, _)| !is_in_a_shell(&name.to_string_lossy())) {
        shell.env_remove(name);
    }
    let done = shell.arg("--verbose").output().context("cannot start cargo")?;
    let output = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "cargo build --release failed: {output}");
    let repeated: Vec<_> = compiled(&output).collect();
    ensure!(repeated.is_empty(), "cargo build --release recompiles what cargo xtask has built: {repeated:#?}");
    Ok(Outcome::Passed)
}

fn is_in_a_shell(name: &str) -> bool {
    let is_of_cargo = name.starts_with("CARGO") || name == "LD_LIBRARY_PATH" || name == "OUT_DIR";
    !is_of_cargo || CONFIGURATION.iter().any(|prefix| name.starts_with(prefix))
}

/// Cargo's lines about what it compiles, and why.
fn compiled(output: &str) -> impl Iterator<Item = &str> {
    output.lines().map(str::trim).filter(|line| line.starts_with("Dirty ") || line.starts_with("Compiling "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_compiled_crates() {
        let output = "       Fresh cfg-if v1.0.4\n       Dirty ring v0.17.14: the env variable CARGO_PKG_NAME changed\n   \
                    Compiling ring v0.17.14\n    Finished `release` profile";
        assert_eq!(compiled(output).count(), 2);
        assert_eq!(compiled("       Fresh ring v0.17.14\n    Finished `release` profile").count(), 0);
    }

    #[test]
    fn variables_of_packages_are_not_in_a_shell() {
        assert!(!is_in_a_shell("CARGO_PKG_NAME") && !is_in_a_shell("CARGO_MANIFEST_DIR") && !is_in_a_shell("CARGO"));
        assert!(is_in_a_shell("CARGO_HOME") && is_in_a_shell("RUSTFLAGS") && is_in_a_shell("PATH"));
    }
}
