//! The browser test's packages, outside of the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::{command, paths};

const LOCK: &str = "package-lock.json";
/// The lock of what was installed last.
const INSTALLED: &str = "installed.lock";

/// The chart library's files: in its npm package, and in the page's folder.
const VENDORED: [(&str, &str); 3] = [
    ("dist/uPlot.iife.min.js", "vendor/uplot/uPlot.iife.min.js"),
    ("dist/uPlot.min.css", "vendor/uplot/uPlot.min.css"),
    ("LICENSE", "vendor/uplot/LICENSE"),
];

/// The browser test's sources.
fn folder() -> PathBuf {
    paths::root().join("xtask/browser")
}

/// The page's files, as they are embedded.
fn page() -> PathBuf {
    paths::root().join("rstwatch/src/export/page")
}

/// Copies the test to the target folder and installs what it needs there, as its lock says.
pub(super) fn install() -> Result<PathBuf> {
    let room = paths::target().join("browser");
    fs::create_dir_all(&room)?;
    for file in fs::read_dir(folder())? {
        let file = file?;
        fs::copy(file.path(), room.join(file.file_name()))?;
    }
    let lock = fs::read(room.join(LOCK))?;
    if fs::read(room.join(INSTALLED)).is_ok_and(|installed| installed == lock) {
        return Ok(room);
    }
    let mut npm = Command::new("npm");
    command::run_quiet(npm.current_dir(&room).args(["ci", "--ignore-scripts"]))?;
    fs::write(room.join(INSTALLED), lock)?;
    Ok(room)
}

/// What is embedded must be what the package of the locked version holds.
pub(super) fn compare_vendored(room: &Path) -> Result<()> {
    for (theirs, ours) in VENDORED {
        let package = room.join("node_modules/uplot").join(theirs);
        let published = fs::read(&package).with_context(|| format!("{}", package.display()))?;
        if fs::read(page().join(ours))? != published {
            bail!("rstwatch/src/export/page/{ours} is not what uplot's package holds: copy {theirs} from there");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_pins_versions_and_names_no_registry() {
        let read = |name: &str| fs::read_to_string(folder().join(name)).expect("a file of the test");
        let lock = read(LOCK);
        assert!(lock.contains("\"integrity\"") && !lock.contains("resolved") && !lock.contains("://"), "{lock}");
        let package: serde_json::Value = serde_json::from_str(&read("package.json")).expect("JSON");
        let needed = package["devDependencies"].as_object().expect("dependencies");
        let exact = |version: &str| version.chars().all(|c| c.is_ascii_digit() || c == '.');
        assert!(needed.values().all(|version| version.as_str().is_some_and(exact)), "{needed:?}");
        let uplot = needed["uplot"].as_str().expect("its version");
        let notice = fs::read_to_string(page().join("vendor/README.md")).expect("the notice");
        assert!(notice.contains(&format!("uPlot](https://github.com/leeoniya/uPlot) {uplot}")), "{notice}");
    }
}
