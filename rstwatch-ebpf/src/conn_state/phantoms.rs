//! Receives that may be phantoms ([`rstwatch_common::counts::Counted::Phantom`]), of sockets without a state.
//!
//! A word is a hash of the socket's sequence numbers and its peer's port. They are the same when the send follows, and differ in
//! each connection, so a word that nothing takes back harms nothing. (The socket's own port is gone by then: what an accepted
//! socket has of it is released with the change to CLOSE, net/ipv4/inet_hashtables.c, `__inet_put_port`.)

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

use crate::conn_state::hash::mixed;
use crate::kernel::{Base, setting, value};

const SLOTS: u32 = 1 << 12;

/// The lowest bit: the receive's record was delivered.
const DELIVERED: u64 = 1;

#[map]
static RECEIVES: Array<u64> = Array::with_max_entries(SLOTS, 0);

/// A socket's slot and word, without the lowest bit.
#[inline(always)]
fn slot_of(sk: impl Base) -> (Option<*mut u64>, u64) {
    let hash = mixed(setting!(hash_seed), value!(sk, rcv_nxt, u32), value!(sk, snd_nxt, u32));
    let hash = mixed(hash, value!(sk, skc_dport, u16) as u32, 0);
    (RECEIVES.get_ptr_mut((hash >> 32) as u32 & (SLOTS - 1)), hash & !DELIVERED)
}

/// Keeps that a socket without a state has received an RST, or seems to.
#[inline(never)]
pub fn keep(sk: impl Base, delivered: bool) {
    let (Some(slot), word) = slot_of(sk) else { return };
    // SAFETY: one word, written in one access.
    unsafe { slot.write_volatile(word | if delivered { DELIVERED } else { 0 }) };
}

/// Whether the socket that is sending an RST has seemed to receive one, and then whether that record was delivered.
#[inline(never)]
pub fn take(sk: impl Base) -> Option<bool> {
    let (Some(slot), word) = slot_of(sk) else { return None };
    // SAFETY: one word, read or written in one access.
    let kept = unsafe { slot.read_volatile() };
    if kept & !DELIVERED != word {
        return None;
    }
    // SAFETY: as above.
    unsafe { slot.write_volatile(0) };
    Some(kept & DELIVERED != 0)
}
