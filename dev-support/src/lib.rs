//! What `xtask`, `lab`, `lab-vm` and `bench` share: running programs and Cargo, finding files and packages, and the agent
//! and Prometheus as child processes.

pub mod agent;
pub mod cargo;
pub mod cgroups;
pub mod command;
pub mod outcome;
pub mod paths;
pub mod port;
pub mod programs;
pub mod prometheus;
pub mod setup;
pub mod signals;
