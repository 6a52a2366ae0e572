//! The record of each kind of reset, whatever hook saw it.

pub mod received;
pub mod rejected;
pub mod repeated_rst;
pub mod sent;
