//! The commands of `rstwatch`, and the settings that arguments and configuration file are resolved into.

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
