//! deploy/systemd: systemd reads the unit without complaint, and finds it well confined.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use dev_support::{command, paths};

use super::rights::{ALWAYS, WITHOUT_FENTRY};

/// systemd's scale: 0 is confined wholly, 10 not at all. What is left: the network, three capabilities, /proc.
const EXPOSURE: f64 = 2.5;

/// The unit's file.
pub(crate) fn file() -> PathBuf {
    paths::root().join("deploy/systemd/rstwatch.service")
}

pub(super) fn check() -> Result<()> {
    let text = fs::read_to_string(file())?;
    capabilities(&text)?;
    verify(&text)?;
    let found = exposure()?;
    ensure!(found <= EXPOSURE, "systemd-analyze security: {found}, above {EXPOSURE}");
    println!("systemd-analyze security: {found}");
    Ok(())
}

/// systemd says of unknown keys and values that it ignores them. That the program is not installed here is no fault.
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
    word.parse().with_context(|| format!("{word:?} is no exposure level"))
}

/// Bounding set and ambient set are those that are tested.
fn capabilities(text: &str) -> Result<()> {
    let wanted: Vec<String> = ALWAYS.iter().chain([&WITHOUT_FENTRY]).map(|name| format!("CAP_{name}")).collect();
    for key in ["CapabilityBoundingSet", "AmbientCapabilities"] {
        let found = value(text, key).with_context(|| format!("the unit has no {key}="))?;
        ensure!(found == wanted.join(" "), "{key}={found}, not {}", wanted.join(" "));
    }
    Ok(())
}

/// The value of a key, without those in comments.
pub(crate) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_capabilities_are_refused() {
        let text = fs::read_to_string(file()).expect("the unit");
        capabilities(&text).expect("right");
        let wider = text.replace("\nAmbientCapabilities=CAP_BPF", "\nAmbientCapabilities=CAP_SYS_ADMIN CAP_BPF");
        assert!(capabilities(&wider).is_err() && wider != text);
        let none = text.replace("\nCapabilityBoundingSet=", "\n#CapabilityBoundingSet=");
        assert!(capabilities(&none).is_err() && none != text);
    }

    /// Lines of the unit that the emulation of the image's and the package's tests relies on.
    #[test]
    fn it_starts_the_agent_with_the_packaged_configuration() {
        let text = fs::read_to_string(file()).expect("the unit");
        assert_eq!(value(&text, "ExecStart"), Some("/usr/bin/rstwatch agent --config /etc/rstwatch/config.toml"));
        assert_eq!(value(&text, "DynamicUser"), Some("yes"));
        assert_eq!(value(&text, "ExecReload"), Some("/bin/kill -HUP $MAINPID"));
    }
}
