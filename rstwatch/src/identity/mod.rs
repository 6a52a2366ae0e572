//! Whose connection it was: owners from cgroups and /proc, and what the Kubernetes API adds.

pub mod owner;
pub mod kubernetes;
