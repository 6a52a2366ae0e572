//! The rstwatch processes under test, and what they report.

pub(crate) mod agents;
pub(crate) mod event;
pub(crate) mod metrics;
pub(crate) mod program;
pub(crate) mod vantage;
