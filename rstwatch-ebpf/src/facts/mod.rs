//! Reading facts of sockets, packets, tasks and namespaces.

pub mod bound;
pub mod cgroup;
pub mod clock;
pub mod conntrack;
pub mod extension;
pub mod files;
pub mod netns;
pub mod segment;
pub mod socket;
pub mod task;
pub mod tcp;
