//! Runs apt with separate state, so that the machine's packages and lists stay untouched. apt verifies the archive's signatures
//! as usual.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::index::{self, Package};
use super::mirror::Mirror;

/// apt with separate sources, lists and cache.
pub(crate) struct Apt {
    config: PathBuf,
    /// Errors that apt printed while fetching the lists.
    errors: Vec<String>,
}

impl Apt {
    /// Sets up apt in a directory and fetches the lists. A suite that cannot be fetched is not an error here; [`Self::images`]
    /// fails if it finds no kernel.
    pub(crate) fn update(home: &Path, mirror: &Mirror) -> Result<Self> {
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(home.join(dir))?;
        }
        fs::write(home.join("sources.list"), mirror.sources())?;
        let config = home.join("apt.conf");
        fs::write(&config, configuration(home))?;
        let mut apt = Self { config, errors: Vec::new() };
        let done = apt.command("apt-get").args(["-q", "update"]).output().context("cannot run apt-get")?;
        let log = String::from_utf8_lossy(&done.stderr);
        apt.errors = log.lines().filter(|line| line.starts_with("E: ")).map(str::to_owned).collect();
        Ok(apt)
    }

    /// The kernel packages of a series, newest first.
    pub(crate) fn images(&self, series: &str) -> Result<Vec<Package>> {
        let names = self.output_of(&mut self.command("apt-cache"), &["pkgnames", "linux-image-"])?;
        let names: Vec<_> = names.lines().filter(|name| index::is_image_of(name, series)).collect();
        if names.is_empty() {
            let why = self.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            bail!("no cloud kernel {series} in the archive's suites{why}");
        }
        let stanzas = self.output_of(self.command("apt-cache").arg("show"), &names)?;
        Ok(index::newest_first(index::parse(&stanzas), series))
    }

    /// Downloads packages, each given as `name=version`, into a directory.
    pub(crate) fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        fs::create_dir_all(into)?;
        let packages: Vec<_> = packages.iter().map(String::as_str).collect();
        self.output_of(self.command("apt-get").current_dir(into).args(["-q", "download"]), &packages)?;
        Ok(())
    }

    fn output_of(&self, command: &mut Command, args: &[&str]) -> Result<String> {
        let done = command.args(args).output().context("cannot run apt")?;
        if !done.status.success() {
            let log = String::from_utf8_lossy(&done.stderr);
            let line = log.lines().find(|line| line.starts_with("E: ")).unwrap_or("apt failed without a message");
            bail!("{line}");
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// Overrides the machine's configuration. Everything else, such as a proxy, stays in effect.
fn configuration(home: &Path) -> String {
    let home = home.display();
    format!(
        "APT::Architecture \"amd64\";\n\
         Dir::State \"{home}\";\n\
         Dir::State::lists \"{home}/lists\";\n\
         Dir::State::status \"/dev/null\";\n\
         Dir::Cache \"{home}/cache\";\n\
         Dir::Cache::pkgcache \"pkgcache.bin\";\n\
         Dir::Etc::sourcelist \"{home}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\n"
    )
}
