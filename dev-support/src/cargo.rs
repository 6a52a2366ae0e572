//! Cargo, run in the workspace as from a shell.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::{command, paths};

/// Variables that `cargo run` and `cargo test` set for the package that they run, by name or prefix.
///
/// Build scripts watch some of them; that of `ring` watches `CARGO_MANIFEST_DIR` and `CARGO_PKG_NAME`. A build that inherited
/// them would compile `ring` and everything above it anew, and so would the next build from a shell.
const OF_THE_RUNNING_PACKAGE: [&str; 5] =
    ["CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_MANIFEST_", "CARGO_PKG_", "OUT_DIR"];

/// A Cargo command in the workspace.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_the_running_package(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo.args(args).current_dir(paths::root());
    cargo
}

fn is_of_the_running_package(name: &str) -> bool {
    OF_THE_RUNNING_PACKAGE.iter().any(|prefix| name.starts_with(prefix))
}

/// The build that users run: the daemon in the release profile.
pub fn release_build() -> Command {
    cargo(&["build", "--release", "--locked", "--package", "rstwatch"])
}

/// Builds the daemon as users do.
pub fn build_release() -> Result<()> {
    command::run(&mut release_build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo test` sets the same variables as `cargo run`.
    #[test]
    fn a_child_does_not_inherit_this_package() {
        assert!(env::var_os("CARGO_PKG_NAME").is_some(), "run by cargo test");
        let cargo = cargo(&[]);
        let removed: Vec<_> = cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
            assert!(removed.iter().any(|removed| *removed == name), "{name} is inherited");
        }
    }

    #[test]
    fn what_the_user_configures_stays() {
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_PROFILE_RELEASE_STRIP", "RUSTFLAGS", "CARGO_NET_OFFLINE"]
        {
            assert!(!is_of_the_running_package(name), "{name}");
        }
    }
}
