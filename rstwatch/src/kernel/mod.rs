//! Stage 1: the running kernel — its BTF, the probes, the counts, the ring.

pub mod attach;
pub mod btf;
mod constants;
pub mod counts;
pub mod gaps;
pub mod layout;
pub mod listeners;
pub mod metrics;
pub mod mounts;
pub mod object;
pub mod reasons;
pub mod sampler;
pub mod scope;
pub mod tables;
pub mod tasks;
pub mod walk;
