//! The kernel side: one file per hook, facts only, no verdicts.
//!
//! ```text
//! hooks/*  ->  facts (read), memory (kept of sockets)  ->  emit (count, then detail)
//! ```
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod emit;
mod facts;
mod files;
mod gaps;
mod hash;
mod hooks;
mod kernel;
mod listeners;
mod maps;
mod memory;
mod netns;
mod reject;
mod segment;
mod sent;
mod sets;
mod sockets;
mod stray;
mod syns;
mod tombstones;
mod ttl;

/// The helpers for tracing are for GPL-compatible programs only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the verifier admits no program that could.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
