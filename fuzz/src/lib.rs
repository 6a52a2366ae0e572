//! The bodies of the targets, which the ordinary tests run too.

#[path = "../../rstwatch/tests/fuzzed/mod.rs"]
pub mod fuzzed;
