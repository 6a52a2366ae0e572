//! Tests the watches of the Kubernetes API against a fake server that can fail in many ways.

#[path = "../apiserver/mod.rs"]
pub mod apiserver;
#[path = "../fuzzed/context.rs"]
pub mod context;

mod access;
mod agent;
mod failures;
mod fixture;
mod listing;
mod objects;

/// The node of the watched pods.
const NODE: &str = "node-a";
