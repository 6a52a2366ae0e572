//! rstwatch says who sent each TCP RST on a Linux host, why, and what to change.
//!
//! The modules stand in the order of the flow: kernel probe → ring record → decode → evidence → classify → event
//! → aggregate → export. Data goes one way only. ARCHITECTURE.md is the map.

// The kernel's side.
pub mod kernel;
pub mod privileges;
pub mod probe;

// One reset, stage by stage.
pub mod assemble;
pub mod cause;
pub mod classify;
pub mod decode;
pub mod evidence;
pub mod owner;
pub mod pair;
pub mod pipeline;
pub mod record;
pub mod timeouts;

// Many resets.
pub mod aggregate;
pub mod history;

// What people see.
pub mod escape;
pub mod explain;
pub mod export;
pub mod filter;
pub mod render;
pub mod text;

// Commands: arguments and file → settings → run.
pub mod agent;
pub mod check;
pub mod cli;
pub mod config;
pub mod output;
pub mod runtime;
pub mod settings;
pub mod trace;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod sample;
