//! Everything that a run of the bench found.

use serde::Serialize;

use super::comparison::Comparison;
use super::figures::Figure;
use super::host::Machine;

/// The results, as the file of `--json` contains them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Figure>,
    pub(crate) comparisons: Vec<Comparison>,
    /// Whether the agent had its packet program attached; `None` if rates were not measured.
    pub(crate) packets: Option<bool>,
    /// A sentence for each fault.
    pub(crate) wrong: Vec<String>,
}

impl Findings {
    /// Findings about this machine, so far without results.
    pub(crate) fn new() -> Self {
        Self { machine: Machine::read(), ..Self::default() }
    }

    /// Adds figures, and prints them.
    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        for figure in figures {
            println!("{}", figure.line());
            self.figures.push(figure);
        }
    }

    /// Prints the summary. Returns whether every limit is met and there is no fault.
    pub(crate) fn summarize(&self) -> bool {
        for wrong in &self.wrong {
            println!("WRONG     {wrong}");
        }
        let missed = self.figures.iter().filter(|figure| figure.met() == Some(false)).count();
        let met = self.figures.iter().filter(|figure| figure.met() == Some(true)).count();
        println!("{met} met, {missed} missed, {} wrong", self.wrong.len());
        missed == 0 && self.wrong.is_empty()
    }
}
