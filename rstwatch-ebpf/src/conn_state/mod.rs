//! The state of connections: while a socket lives, and as a tombstone after.
//!
//! ```text
//! hooks  ->  lifecycle (what each change of state writes)  ->  slots, storage (living sockets), tombstones (gone ones)
//!                                                          ->  table, bucket, hash (the arrays behind them)
//! ```
//!
//! Beside them: TTLs of handshakes, SYNs of handshakes, idle gaps.

pub mod bucket;
pub mod gaps;
pub mod hash;
pub mod lifecycle;
pub mod slots;
pub mod storage;
pub mod syns;
pub mod table;
pub mod tombstones;
pub mod ttl;
