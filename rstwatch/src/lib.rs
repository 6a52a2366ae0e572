//! rstwatch says who sent each TCP RST on a Linux host, why, and what to change.
//!
//! The modules stand in the order of the flow: kernel probe → ring record → decode → evidence → classify → event
//! → aggregate → export. Data goes one way only. ARCHITECTURE.md is the map.

// The kernel's side.
pub mod kernel;
pub mod sandbox;

// One reset: whose connection it was, and its way from the ring through the verdict.
pub mod identity;
pub mod capture;

// Many resets.
pub mod metric;
pub mod aggregate;
pub mod idle_timeouts;
pub mod history;
pub mod timeline;

// Queues and tables that fill up.
pub mod capacity;

// What people and programs read.
pub mod present;
pub mod export;

// What runs.
pub mod command;
pub mod check;
