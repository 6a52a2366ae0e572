//! The result of a step of `cargo xtask test` that did not fail.

/// Keeps a step that could not run from being reported as passed.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The step ran, and everything is right.
    Passed,
    /// The step did not run, for this reason.
    Skipped(String),
}

impl Outcome {
    /// Prints the outcome as one line.
    pub fn print(&self) {
        match self {
            Self::Passed => println!("ok"),
            Self::Skipped(why) => println!("skipped: {why}"),
        }
    }
}
