//! Who owns a connection: owners from cgroups and `/proc`, and names from the Kubernetes API.

pub mod owner;
pub mod kubernetes;
