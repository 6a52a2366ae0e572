//! Stage 1: the running kernel. Its BTF, the hooks, the counts, the ring.

pub mod attach;
pub mod attached;
pub mod btf;
pub mod capabilities;
pub mod clock;
pub mod counters;
pub mod counts;
pub mod features;
pub mod gaps;
pub mod hook;
pub mod hooks;
pub mod iterator;
pub mod layout;
pub mod listeners;
pub mod memory;
pub mod metrics;
pub mod mounts;
pub mod netns;
pub mod object;
pub mod probe;
pub mod reasons;
pub mod sampler;
pub mod scan;
pub mod scope;
pub mod seed;
pub mod settings;
pub mod summary;
pub mod tables;
pub mod tasks;

mod assess;
mod counting;
mod load;
mod preload;
mod program;
mod refusal;
