//! rstwatch says who sent each TCP RST on a Linux host, why, and what to change.
//!
//! The modules stand in the order of the flow: kernel probe → ring record → decode → evidence → classify → event
//! → aggregate → export. Data goes one way only. ARCHITECTURE.md is the map.

// The kernel's side.
pub mod kernel;
pub mod sandbox;

// One reset, stage by stage: bytes, facts, verdict, event.
pub mod addresses;
pub mod reasons;
pub mod decode;
pub mod timeouts;
pub mod evidence;
pub mod cause;
pub mod classify;
pub mod recent;
pub mod pair;
pub mod company;
pub mod owner;
pub mod kubernetes;
pub mod aside;
pub mod record;
pub mod assemble;
pub mod stages;
pub mod pipeline;

// Many resets.
pub mod aggregate;
pub mod bounds;
pub mod history;
pub mod timeline;

// Queues and tables that fill up.
pub mod capacity;

// What people see.
pub mod escape;
pub mod text;
pub mod explain;
pub mod filter;
pub mod render;
pub mod export;

// Commands: arguments and file, settings, run.
pub mod files;
pub mod config;
pub mod cli;
pub mod settings;
pub mod runtime;
pub mod output;
pub mod watch;
pub mod agent;
pub mod trace;
pub mod report;
pub mod bracket;
pub mod check;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod seeds;
