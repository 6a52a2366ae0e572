//! What many resets add up to: totals, idle timeouts, recent events, a timeline.

pub mod aggregate;
pub mod idle_timeouts;
pub mod history;
pub mod timeline;
