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

/// Runs the steps up to the first that fails; says whether none did.
pub(crate) fn test(args: &TestArgs) -> bool {
    let mut tally = Tally::default();
    for step in STEPS {
        println!("== {}", step.name);
        let started = Instant::now();
        let ended = tally.run(step, args);
        tally.count(ended.as_ref());
        report(ended, started);
    }
    let Tally { passed, failed, skipped } = tally;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}

impl Tally {
    fn run(&self, step: &Step, args: &TestArgs) -> Result<Outcome> {
        let skipped = |why: &str| Ok(Outcome::Skipped(why.to_owned()));
        if self.failed > 0 {
            return skipped("an earlier step failed");
        }
        if args.quick && !step.quick {
            return skipped("--quick");
        }
        (step.run)()
    }

    fn count(&mut self, ended: Result<&Outcome, &anyhow::Error>) {
        match ended {
            Ok(Outcome::Passed) => self.passed += 1,
            Ok(Outcome::Skipped(_)) => self.skipped += 1,
            Err(_) => self.failed += 1,
        }
    }
}

fn report(ended: Result<Outcome>, started: Instant) {
    match ended {
        Ok(Outcome::Passed) => println!("ok, {:.1} s", started.elapsed().as_secs_f32()),
        Ok(skipped) => skipped.print(),
        Err(error) => println!("failed: {error:#}"),
    }
}
