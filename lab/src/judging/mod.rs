//! Compares reports with the truth, and writes the results.

pub(crate) mod assign;
pub(crate) mod certainty;
pub(crate) mod confusion;
pub(crate) mod conserve;
pub(crate) mod figures;
pub(crate) mod grade;
pub(crate) mod inexact;
pub(crate) mod judge;
pub(crate) mod judgement;
pub(crate) mod matrix;
pub(crate) mod ratio;
pub(crate) mod reasons;
pub(crate) mod report;
#[cfg(test)]
mod sample;
