//! Output for people: events as text, filters, reports.

pub mod filter;
pub mod render;
pub mod timeouts;
pub mod report;
