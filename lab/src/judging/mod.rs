//! Compares reports with the truth, and writes the results.

pub(crate) mod certainty;
pub(crate) mod conserve;
pub(crate) mod grade;
pub(crate) mod judge;
pub(crate) mod judgement;
pub(crate) mod matrix;
pub(crate) mod report;
pub(crate) mod tally;
