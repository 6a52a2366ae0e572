//! What is measured: the agent and other tools as child processes, and what the kernel and `/metrics` say about them.

mod bpf;
pub(crate) mod conservation;
pub(crate) mod idle_programs;
pub(crate) mod memory_cgroup;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod tool;
pub(crate) mod verdicts;
pub(crate) mod web;
