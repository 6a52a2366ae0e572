//! `cargo xtask test`: every check of the project, the quick ones first.

use std::time::Instant;

use anyhow::Result;
use dev_support::outcome::Outcome;

use crate::steps::{STEPS, Step};

/// What `cargo xtask test` accepts.
#[derive(clap::Args, Debug)]
pub(crate) struct TestArgs {
    /// Only the steps that need neither root nor another toolchain
    #[arg(long)]
    quick: bool,
}

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// Runs the steps up to the first that fails. Returns whether all passed or were skipped.
pub(crate) fn test(args: &TestArgs) -> bool {
    let mut tally = Tally::default();
    for step in STEPS {
        println!("== {}", step.name);
        let started = Instant::now();
        let result = tally.run(step, args);
        tally.count(result.as_ref());
        report(result, started);
    }
    let Tally { passed, failed, skipped } = tally;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}

impl Tally {
    fn run(&self, step: &Step, args: &TestArgs) -> Result<Outcome> {
        let skip = |why: &str| Ok(Outcome::Skipped(why.to_owned()));
        if self.failed > 0 {
            return skip("an earlier step failed");
        }
        if args.quick && !step.quick {
            return skip("--quick");
        }
        (step.run)()
    }

    fn count(&mut self, result: Result<&Outcome, &anyhow::Error>) {
        match result {
            Ok(Outcome::Passed) => self.passed += 1,
            Ok(Outcome::Skipped(_)) => self.skipped += 1,
            Err(_) => self.failed += 1,
        }
    }
}

fn report(result: Result<Outcome>, started: Instant) {
    match result {
        Ok(Outcome::Passed) => println!("ok, {:.1} s", started.elapsed().as_secs_f32()),
        Ok(skipped) => skipped.print(),
        Err(error) => println!("failed: {error:#}"),
    }
}
