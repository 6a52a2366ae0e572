//! The `rstwatch` binary: parses the command line, sets up logging, and runs the command.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use rstwatch::command::cli::{self, Cli, Command, LogLevel};
use rstwatch::command::{agent, check, report, timeouts, trace};
use rstwatch_verdict::{escape, explain};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Exit code of a command that failed.
const FAILURE: u8 = 1;
/// Exit code for an invalid command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => exit_code(run(cli)),
        Err(error) => print_clap_error(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    start_logging(&cli);
    match cli.command {
        Command::Agent(args) => agent::run(args.settings()?)?,
        Command::Trace(args) => trace::run(args.settings()?)?,
        Command::Report(args) => report::run(args.settings()?)?,
        Command::Timeouts(args) => timeouts::run(args.settings()?)?,
        Command::Explain { cause } => {
            let text = cause.map_or_else(explain::list, explain::text);
            io::stdout().write_all(text.as_bytes())?;
        }
        Command::Check(args) => {
            if !check::run(args.settings()?)? {
                return Ok(FAILURE.into());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start_logging(cli: &Cli) {
    let default = if matches!(cli.command, Command::Agent(_)) { LogLevel::Info } else { LogLevel::Warn };
    let level = LevelFilter::from(cli.log_level.unwrap_or(default));
    // kube logs each failed attempt, and responses that it cannot parse in full. The agent logs each failure once.
    let quiet = ["kube_client", "kube_runtime"].map(|target| (target, LevelFilter::OFF));
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        .with_target(false)
        .finish()
        .with(Targets::new().with_default(level).with_targets(quiet))
        .init();
}

/// Prints the error, if any.
fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        // Not a failure: `rstwatch trace | head` closes the pipe.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            _ = writeln!(io::stderr(), "rstwatch: {}", escape::printable(&format!("{error:#}")));
            FAILURE.into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints what clap returns as an error: the help, the version or a usage error.
fn print_clap_error(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            _ = error.print();
            ExitCode::SUCCESS
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            _ = error.print();
            USAGE.into()
        }
        _ => {
            _ = writeln!(io::stderr(), "{}", cli::one_line(error));
            USAGE.into()
        }
    }
}
