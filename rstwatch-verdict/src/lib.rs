//! The verdict on a TCP reset: pure functions from a kernel record to the event that users read.
//!
//! Bytes of the ring become a record ([`decode`]), the record becomes [`evidence`], one ordered table of rules
//! ([`classify`]) decides cause, sender and confidence, and [`assemble`] builds the [`event`]. [`pair`] joins the
//! records of both ends if both are on this host; [`stages`] runs all of it. Nothing here performs I/O or reads a
//! clock: times are fields of the record.

// Shared vocabulary.
pub mod text;
pub mod escape;
pub mod cause;
mod families;
pub mod explain;
pub mod known_timeouts;
pub mod reasons;
pub mod addresses;

// One reset, in the order of the flow.
pub mod decode;
pub mod evidence;
pub mod classify;
pub mod event;
pub mod decide;
pub mod identity;
pub mod timing;
pub mod judged;
pub mod assemble;

// Several resets.
pub mod recent;
pub mod pair;
pub mod correlate;
pub mod stages;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
