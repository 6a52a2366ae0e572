//! The man pages and completions that `rstwatch/examples/manual.rs` writes, read by who reads them: mandoc, man, and shells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::cargo::cargo;
use dev_support::{command, paths};

/// Their folder, written anew.
pub(crate) fn write() -> Result<PathBuf> {
    let folder = paths::target().join("manual");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut run = cargo(&["run", "--quiet", "--locked", "--package", "rstwatch", "--example", "manual", "--"]);
    command::run(run.arg(&folder))?;
    Ok(folder)
}

/// All of it.
pub(super) fn check() -> Result<()> {
    let folder = write()?;
    pages(&folder.join("man"))?;
    completions(&folder.join("completions"))
}

fn pages(folder: &Path) -> Result<()> {
    let mut names = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        // Warnings are about blank lines that mangen makes twice.
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
    // Each command has a page, and the page of the program names it.
    ensure!(names == wanted, "the pages are {names:?}, not {wanted:?}: is a command new?");
    let main = fs::read_to_string(folder.join("rstwatch.1"))?;
    for name in &wanted[..wanted.len() - 1] {
        let stem = name.trim_end_matches(".1").replace('-', "\\-");
        ensure!(main.contains(&format!("{stem}(1)")), "rstwatch.1 does not name {name}");
    }
    Ok(())
}

/// Each shell reads its file, and offers a command and a value.
fn completions(folder: &Path) -> Result<()> {
    let bash = "source \"$0\"
        COMP_WORDS=(rstwatch tim) COMP_CWORD=1; _rstwatch rstwatch tim rstwatch; echo \"${COMPREPLY[@]}\"
        COMP_WORDS=(rstwatch explain idle_) COMP_CWORD=2; _rstwatch rstwatch idle_ explain; echo \"${COMPREPLY[@]}\"";
    asks("bash", &["-euc", bash], &folder.join("rstwatch"), "timeouts\nidle_reaped")?;
    let zsh = "autoload -Uz compinit; compinit -u -D; source \"$0\"; print -- $_comps[rstwatch]";
    asks("zsh", &["-fc", zsh], &folder.join("_rstwatch"), "_rstwatch")?;
    // What follows a tab is the help of it.
    let fish = "source $argv[1]
        complete -C 'rstwatch tim' | string replace -r '\t.*' ''
        complete -C 'rstwatch trace --direction s' | string replace -r '\t.*' ''; true";
    asks("fish", &["--no-config", "-c", fish], &folder.join("rstwatch.fish"), "timeouts\nsent")
}

fn asks(shell: &str, words: &[&str], file: &Path, wanted: &str) -> Result<()> {
    let mut command = Command::new(shell);
    // History and caches of who runs this are left alone.
    let home = tempfile::tempdir()?;
    command.args(words).arg(file).env("HOME", home.path());
    let said = command::stdout(&mut command).with_context(|| format!("{shell} cannot read {}", file.display()))?;
    if said != wanted {
        bail!("{shell} offers {said:?}, not {wanted:?}");
    }
    Ok(())
}
