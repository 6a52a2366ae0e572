//! `cargo xtask run`: the agent in the foreground; with `--demo`, resets of known causes and the verdicts on them.

use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dev_support::agent::Agent;
use dev_support::setup::{self, Purpose};
use dev_support::{cargo, paths, signals};

/// Default address of the agent.
const ADDRESS: &str = "127.0.0.1:9877";

/// Arguments of `cargo xtask run`.
#[derive(clap::Args, Debug)]
pub(crate) struct RunArgs {
    /// Make a few resets of different causes once the agent is ready, and print the verdict on each
    #[arg(long)]
    demo: bool,
    /// Stop after the demo
    #[arg(long, requires = "demo")]
    once: bool,
    /// Arguments for `rstwatch agent`
    #[arg(last = true, value_name = "AGENT ARGS")]
    agent: Vec<OsString>,
}

/// Runs `cargo xtask run`.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF needs root: sudo env \"PATH=$PATH\" cargo xtask run");
    }
    if args.demo {
        setup::ensure(Purpose::Lab)?;
    }
    cargo::build_release()?;
    signals::catch()?;
    let url = format!("http://{}", reachable(&address(&args.agent)));
    let mut agent = Agent::start(&args.agent)?;
    announce(&url);
    if args.demo && agent.wait_ready(&url)? && demo(&agent)? {
        if args.once {
            return agent.end();
        }
        println!("the demo is over; {url}/ shows its resets; Ctrl-C ends");
    }
    agent.serve()
}

fn announce(url: &str) {
    println!("status page  {url}/");
    println!("metrics      {url}/metrics");
    let program = paths::rstwatch();
    let relative = program.strip_prefix(paths::root()).unwrap_or(&program);
    println!("verdicts     {} trace", relative.display());
}

/// Makes the resets on another thread while this one handles signals. Returns false if a signal came.
fn demo(agent: &Agent) -> Result<bool> {
    let demo = thread::spawn(|| lab::demo(&paths::rstwatch()));
    while !demo.is_finished() {
        if agent.pass_on_signal()? {
            // The lab's network is removed when this process ends.
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
    demo.join().unwrap_or_else(|_| bail!("it panicked: see above")).context("the demo failed")?;
    Ok(true)
}

/// An address at which a listener on `address` is reached from this host. Wildcard addresses include loopback.
fn reachable(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("" | "0.0.0.0" | "[::]", port)) => format!("127.0.0.1:{port}"),
        _ => address.to_owned(),
    }
}

/// The first listen address in the agent's arguments.
fn address(args: &[OsString]) -> String {
    const FLAG: &str = "--web.listen-address";
    let mut words = args.iter().map(|arg| arg.to_string_lossy());
    while let Some(word) = words.next() {
        if word == FLAG {
            return words.next().map_or_else(|| ADDRESS.to_owned(), Into::into);
        }
        if let Some(value) = word.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix('=')) {
            return value.to_owned();
        }
    }
    ADDRESS.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_listen_address_is_used() {
        let of = |args: &[&str]| address(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&[]), ADDRESS);
        assert_eq!(of(&["--web.listen-address=[::1]:1", "-x"]), "[::1]:1");
        assert_eq!(of(&["-x", "--web.listen-address", "127.0.0.1:2"]), "127.0.0.1:2");
    }
}
