//! The measurements, and the figures and pages that they become.

pub(crate) mod comparison;
pub(crate) mod cost;
pub(crate) mod figures;
pub(crate) mod findings;
mod host;
pub(crate) mod masses;
mod numbers;
pub(crate) mod page;
pub(crate) mod rates;
pub(crate) mod size;
pub(crate) mod startup;
