//! Checks deploy/systemd: systemd must accept the unit without warnings and rate its sandboxing well.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use dev_support::{command, paths};

use super::capabilities::{BASE, WITHOUT_FENTRY};

/// Maximum exposure level of `systemd-analyze security`: 0 is fully sandboxed, 10 not at all. The remaining exposure is the
/// network, three capabilities and /proc.
const MAX_EXPOSURE: f64 = 2.5;

/// The unit's file.
pub(crate) fn file() -> PathBuf {
    paths::root().join("deploy/systemd/rstwatch.service")
}

pub(super) fn check() -> Result<()> {
    let text = fs::read_to_string(file())?;
    capabilities(&text)?;
    verify(&text)?;
    let found = exposure()?;
    ensure!(found <= MAX_EXPOSURE, "systemd-analyze security: {found}, above {MAX_EXPOSURE}");
    println!("systemd-analyze security: {found}");
    Ok(())
}

/// systemd-analyze warns about unknown keys and values. ExecStart is replaced because the binary is not installed here.
fn verify(text: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let copy = scratch.path().join("rstwatch.service");
    let here = text.replace("/usr/bin/rstwatch", "/bin/true");
    ensure!(here != text, "the unit does not start /usr/bin/rstwatch");
    fs::write(&copy, here)?;
    let mut verify = Command::new("systemd-analyze");
    let done = verify.args(["verify", "--man=no"]).arg(&copy).output().context("cannot start systemd-analyze")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success() && said.trim().is_empty(), "systemd-analyze verify: {}", said.trim());
    Ok(())
}

fn exposure() -> Result<f64> {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--no-pager", "--offline=true"]).arg(file());
    let said = command::stdout(&mut analyze).context("systemd-analyze security failed")?;
    let (_, rest) = said.split_once("Overall exposure level for rstwatch.service: ").context("no exposure level")?;
    let word = rest.split_whitespace().next().unwrap_or_default();
    word.parse().with_context(|| format!("{word:?} is not an exposure level"))
}

/// The bounding and ambient sets must be the tested capabilities.
fn capabilities(text: &str) -> Result<()> {
    let wanted: Vec<String> = BASE.iter().chain([&WITHOUT_FENTRY]).map(|name| format!("CAP_{name}")).collect();
    for key in ["CapabilityBoundingSet", "AmbientCapabilities"] {
        let found = value(text, key).with_context(|| format!("the unit has no {key}="))?;
        ensure!(found == wanted.join(" "), "{key}={found}, not {}", wanted.join(" "));
    }
    Ok(())
}

/// The value of a key outside comments.
pub(crate) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_capabilities_are_refused() {
        let text = fs::read_to_string(file()).expect("the unit");
        capabilities(&text).expect("the tested capabilities");
        let wider = text.replace("\nAmbientCapabilities=CAP_BPF", "\nAmbientCapabilities=CAP_SYS_ADMIN CAP_BPF");
        assert!(capabilities(&wider).is_err() && wider != text);
        let none = text.replace("\nCapabilityBoundingSet=", "\n#CapabilityBoundingSet=");
        assert!(capabilities(&none).is_err() && none != text);
    }

    /// The tests of the image and the package rely on these lines.
    #[test]
    fn it_starts_the_agent_with_the_packaged_configuration() {
        let text = fs::read_to_string(file()).expect("the unit");
        assert_eq!(value(&text, "ExecStart"), Some("/usr/bin/rstwatch agent --config /etc/rstwatch/config.toml"));
        assert_eq!(value(&text, "DynamicUser"), Some("yes"));
        assert_eq!(value(&text, "ExecReload"), Some("/bin/kill -HUP $MAINPID"));
    }
}
