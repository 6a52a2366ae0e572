//! Stage 1: the running kernel — its BTF, the probes, the counts, the ring.

pub mod attach;
pub mod btf;
pub mod counts;
pub mod layout;
pub mod object;
pub mod reasons;
pub mod scope;
