//! How a step ended when it did not fail.

/// A step that could not be made must never read as one that passed.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made and is right.
    Passed,
    /// It was not made, and why.
    Skipped(String),
}

impl Outcome {
    /// Prints the line that stands for this outcome.
    pub fn print(&self) {
        match self {
            Self::Passed => println!("ok"),
            Self::Skipped(why) => println!("skipped: {why}"),
        }
    }
}
