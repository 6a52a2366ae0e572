//! The watches of the Kubernetes API against a server that speaks as it does, and fails in every way it can.

#[path = "../apiserver/mod.rs"]
pub mod apiserver;
#[path = "../fuzzed/context.rs"]
pub mod context;

mod access;
mod agent;
mod failing;
mod knowing;
mod listing;
mod stage;

/// The node whose pods are asked for.
const NODE: &str = "node-a";
