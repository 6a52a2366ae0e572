//! The state of connections: while a socket lives, and as a tombstone after.
//!
//! ```text
//! hooks  ->  lifecycle (what each change of state writes)  ->  slots (living sockets), tombstones (gone ones)
//!                                                          ->  table, bucket, hash, share (the arrays behind them)
//! ```
//!
//! Beside them: TTLs of handshakes, SYNs of handshakes, idle gaps, receives of sockets without a state.

pub mod bucket;
pub mod ends;
pub mod gaps;
pub mod hash;
pub mod lifecycle;
pub mod phantoms;
pub mod scratch;
pub mod share;
pub mod slots;
pub mod syns;
pub mod table;
pub mod tombstones;
pub mod ttl;
