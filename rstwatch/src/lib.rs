//! rstwatch says who sent each TCP RST on a Linux host, why, and what to change.
//!
//! Modules are declared in the order of the flow: kernel probe → ring record → verdict (crate `rstwatch-verdict`) → event
//! → statistics → export. A module uses only those above it; tests/layers.rs checks it. ARCHITECTURE.md is the map.

// The running kernel: what declares a metric comes first, because every module may have some.
pub mod metric;
pub mod kernel;
pub mod sandbox;

// One reset: its owner, and its way from the ring through the verdict.
pub mod identity;
pub mod capture;

// Many resets.
pub mod stats;

// Queues and tables that fill up.
pub mod capacity;

// What people and programs read.
pub mod present;
pub mod export;

// What runs.
pub mod command;
