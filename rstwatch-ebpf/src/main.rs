//! The kernel side: gathers facts about TCP resets. No verdicts, no strings.
//!
//! ```text
//! hooks/*  ->  facts (reading), conn_state (what is kept of connections), listeners, drops
//!          ->  reports (one file per kind of record)  ->  emit (count, then detail)
//! ```
//!
//! Each map is declared in the module that alone uses it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod conn_state;
mod drops;
mod emit;
mod facts;
mod hooks;
mod kernel;
mod listener_shares;
mod listeners;
mod reports;
mod words;

/// The helpers for tracing are for GPL-compatible programs only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the verifier admits no program that could.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
