//! Installs the npm packages of the browser test in the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::{command, paths};

const LOCK: &str = "package-lock.json";
/// Copy of the lock file of the last installation.
const INSTALLED: &str = "installed.lock";

/// Files of the chart library: path in the npm package, and path in the page's folder.
const VENDORED: [(&str, &str); 3] = [
    ("dist/uPlot.iife.min.js", "vendor/uplot/uPlot.iife.min.js"),
    ("dist/uPlot.min.css", "vendor/uplot/uPlot.min.css"),
    ("LICENSE", "vendor/uplot/LICENSE"),
];

/// The browser test's sources.
fn sources() -> PathBuf {
    paths::root().join("xtask/browser")
}

/// The page's files, as they are embedded.
fn page() -> PathBuf {
    paths::root().join("rstwatch/src/export/page")
}

/// Copies the test to the target folder and installs the locked packages there.
pub(super) fn install() -> Result<PathBuf> {
    let folder = paths::target().join("browser");
    fs::create_dir_all(&folder)?;
    for file in fs::read_dir(sources())? {
        let file = file?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    let lock = fs::read(folder.join(LOCK))?;
    if fs::read(folder.join(INSTALLED)).is_ok_and(|installed| installed == lock) {
        return Ok(folder);
    }
    let mut npm = Command::new("npm");
    command::run_quiet(npm.current_dir(&folder).args(["ci", "--ignore-scripts"]))?;
    fs::write(folder.join(INSTALLED), lock)?;
    Ok(folder)
}

/// The vendored files must equal those in the package of the locked version.
pub(super) fn compare_vendored(folder: &Path) -> Result<()> {
    for (theirs, ours) in VENDORED {
        let package = folder.join("node_modules/uplot").join(theirs);
        let published = fs::read(&package).with_context(|| format!("{}", package.display()))?;
        if fs::read(page().join(ours))? != published {
            bail!("rstwatch/src/export/page/{ours} differs from the npm package: copy it from {}", package.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_pins_versions_and_names_no_registry() {
        let read = |name: &str| fs::read_to_string(sources().join(name)).expect("a file of the test");
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
