//! Checks the man pages and completions that `rstwatch/examples/manual.rs` generates, with mandoc and with the shells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::cargo::cargo;
use dev_support::{command, paths};

/// Generates them into an empty folder and returns it.
pub(crate) fn write() -> Result<PathBuf> {
    let folder = paths::target().join("manual");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut run = cargo(&["run", "--quiet", "--locked", "--package", "rstwatch", "--example", "manual", "--"]);
    command::run(run.arg(&folder))?;
    Ok(folder)
}

/// Generates and checks them.
pub(super) fn check() -> Result<()> {
    let folder = write()?;
    pages(&folder.join("man"))?;
    completions(&folder.join("completions"))
}

fn pages(folder: &Path) -> Result<()> {
    let mut names = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        // Errors only: clap_mangen emits duplicate blank lines, about which mandoc warns.
        command::run_quiet(Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&file))?;
        let text = fs::read_to_string(&file)?;
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "FILES", "EXIT STATUS"] {
            let heads = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
            ensure!(heads.iter().any(|head| text.contains(head)), "{}: no {section}", file.display());
        }
        names.extend(file.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    let all = ["agent", "check", "explain", "report", "timeouts", "trace"].map(|name| format!("rstwatch-{name}.1"));
    let wanted: Vec<String> = all.into_iter().chain(["rstwatch.1".to_owned()]).collect();
    // Each command must have a page, and rstwatch(1) must refer to it.
    ensure!(
        names == wanted,
        "the man pages are {names:?}, not {wanted:?}: update the list in manual.rs for a new command"
    );
    let main = fs::read_to_string(folder.join("rstwatch.1"))?;
    for name in &wanted[..wanted.len() - 1] {
        let stem = name.trim_end_matches(".1").replace('-', "\\-");
        ensure!(main.contains(&format!("{stem}(1)")), "rstwatch.1 does not refer to {name}");
    }
    Ok(())
}

/// Each shell must load its file and complete a command and a value.
fn completions(folder: &Path) -> Result<()> {
    let bash = "source \"$0\"
        COMP_WORDS=(rstwatch tim) COMP_CWORD=1; _rstwatch rstwatch tim rstwatch; echo \"${COMPREPLY[@]}\"
        COMP_WORDS=(rstwatch explain idle_) COMP_CWORD=2; _rstwatch rstwatch idle_ explain; echo \"${COMPREPLY[@]}\"";
    check_shell("bash", &["-euc", bash], &folder.join("rstwatch"), "timeouts\nidle_reaped")?;
    let zsh = "autoload -Uz compinit; compinit -u -D; source \"$0\"; print -- $_comps[rstwatch]";
    check_shell("zsh", &["-fc", zsh], &folder.join("_rstwatch"), "_rstwatch")?;
    // fish prints a description after a tab.
    let fish = "source $argv[1]
        complete -C 'rstwatch tim' | string replace -r '\t.*' ''
        complete -C 'rstwatch trace --direction s' | string replace -r '\t.*' ''; true";
    check_shell("fish", &["--no-config", "-c", fish], &folder.join("rstwatch.fish"), "timeouts\nsent")
}

fn check_shell(shell: &str, words: &[&str], file: &Path, wanted: &str) -> Result<()> {
    let mut command = Command::new(shell);
    // Do not touch the user's history and caches.
    let home = tempfile::tempdir()?;
    command.args(words).arg(file).env("HOME", home.path());
    let said = command::stdout(&mut command).with_context(|| format!("{shell} cannot read {}", file.display()))?;
    if said != wanted {
        bail!("{shell} completes {said:?}, not {wanted:?}");
    }
    Ok(())
}
