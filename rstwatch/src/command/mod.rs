//! The commands: arguments and configuration become checked settings, then one of them runs.

pub mod config;
pub mod settings;
pub mod cli;
pub mod runtime;
pub mod output;
pub mod watch;
pub mod agent;
pub mod trace;
pub mod report;
pub mod timeouts;
pub mod check;
