//! Records, events and fuzz seeds for tests, of this crate and of those that depend on it.

pub mod fixture;
pub mod sample;
#[expect(clippy::disallowed_methods, reason = "compares with the files in fuzz/seeds")]
pub mod seeds;
