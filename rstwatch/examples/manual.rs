//! Generates the man pages and shell completions from the command line definition: `cargo run --example manual -- FOLDER`.
//! Writes the pages to FOLDER/man and the completions to FOLDER/completions.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::{Generator, Shell};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use rstwatch::command::cli::Cli;

/// A section that is not in the help text: title and paragraphs.
type Section = (&'static str, &'static [&'static str]);

/// The exit status of `main`; also in docs/commands.md.
const EXIT: Section =
    ("EXIT STATUS", &["0: done.", "1: it could not be done; one line on stderr says why.", "2: wrong usage."]);

const FILES: Section = (
    "FILES",
    &[
        "/sys/kernel/btf/vmlinux: the kernel's types, required.",
        "/etc/rstwatch/config.toml: the configuration that the systemd unit of the Debian package passes with --config.",
    ],
);

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).context("usage: manual FOLDER")?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    pages(&man)?;
    for (shell, name) in [(Shell::Bash, "rstwatch"), (Shell::Zsh, "_rstwatch"), (Shell::Fish, "rstwatch.fish")] {
        complete(shell, &completions.join(name))?;
    }
    Ok(())
}

/// Writes a page for the program and one for each command.
fn pages(folder: &Path) -> Result<()> {
    // `help` needs no page.
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let all = std::iter::once(&cli).chain(cli.get_subcommands());
    for command in all {
        // The page of "rstwatch agent" is rstwatch-agent.
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let file = folder.join(format!("{name}.1"));
        let text = page(command.clone(), &name)?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn page(command: Command, name: &str) -> Result<Vec<u8>> {
    // Without a date, so that builds are reproducible.
    let title = name.to_uppercase();
    let version = concat!("rstwatch ", env!("CARGO_PKG_VERSION"));
    let has_commands = command.has_subcommands();
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let man = Man::new(command);
    let mut text = Vec::new();
    let mut head = Roff::new();
    head.control("TH", [&*title, "1", "", version, "User Commands"]);
    head.to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_commands {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(after) = after {
        literal("CONFIGURATION", &after, &mut text)?;
    }
    for (title, lines) in [FILES, EXIT] {
        let mut section = Roff::new();
        section.control("SH", [title]);
        for (n, line) in lines.iter().enumerate() {
            // A heading starts a paragraph.
            if n > 0 {
                section.control("PP", []);
            }
            section.text([roman(*line)]);
        }
        section.to_writer(&mut text)?;
    }
    Ok(text)
}

/// A preformatted section, such as a table or a file.
fn literal(title: &str, body: &str, text: &mut Vec<u8>) -> Result<()> {
    let mut section = Roff::new();
    section.control("SH", [title]).control("nf", []);
    for line in body.lines() {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section.to_writer(text)?;
    Ok(())
}

fn complete(shell: Shell, file: &Path) -> Result<()> {
    let mut cli = Cli::command().bin_name("rstwatch");
    cli.build();
    let mut text = Vec::new();
    shell.generate(&cli, &mut text);
    let mut out = fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    out.write_all(&text)?;
    Ok(())
}
