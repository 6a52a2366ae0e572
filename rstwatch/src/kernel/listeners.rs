//! Listeners and their accept queues, as the kernel side keeps them.

use std::net::SocketAddr;

use aya::maps::{Array, HashMap, MapData};
use rstwatch_common::listener::{Gone, Listener};
use zerocopy::FromBytes;

use super::walk::Walk;
use rstwatch_verdict::event::Workload;

/// The probe's name.
pub const PROBE: &str = "bpf_map_elem";

/// The walk over the listeners, and those that it finds no more.
pub struct Listeners {
    /// Over the map `LISTENERS`.
    pub walk: Walk,
    /// The map `GONE`.
    pub gone: HashMap<MapData, PlainGone, PlainListener>,
    /// The map `UNLISTED`.
    pub unlisted: Array<MapData, u64>,
    /// Every function that meets a full queue is hooked.
    pub hooked: bool,
}

/// A listener at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Tells it from others: its socket's address, and when it began to listen or was first seen.
    pub id: (u64, u64),
    /// Where it listens.
    pub local: SocketAddr,
    /// Inode of its network namespace.
    pub netns: u32,
    /// By what its owner is found.
    pub owner: rstwatch_verdict::identity::Identity,
    /// Whose it is: its process, until it is named.
    pub workload: Option<Workload>,
    /// Process that called listen().
    pub pid: u32,
    /// Connections in its accept queue.
    pub length: u32,
    /// The queue's limit; it takes one more.
    pub limit: u32,
    /// Handshakes that met the queue full since it was first seen, as far as that is seen.
    pub met_full: u64,
    /// What else was dropped at it: where not every such handshake is seen, some of these may have been more.
    pub drops: u64,
    /// It listens no more; this is the last that is heard of it.
    pub gone: bool,
}

/// [`Gone`], for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PlainGone(Gone);

/// [`Listener`], for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PlainListener(Listener);

// SAFETY: plain numbers without padding, valid in any bit pattern (the `wire!` macro derives zerocopy's proof of it).
unsafe impl aya::Pod for PlainGone {}
// SAFETY: as above.
unsafe impl aya::Pod for PlainListener {}

impl Listeners {
    /// Every listener, and each that has gone since the last look and had dropped something.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn look(&mut self) -> std::io::Result<Vec<Seen>> {
        // Those that listen first: one that goes meanwhile is then met among the gone.
        let mut all = listed(&self.walk.run()?, self.hooked);
        all.extend(self.take_gone().iter().map(|gone| seen(gone, self.hooked)));
        Ok(all)
    }

    /// How many listeners found no room in the map.
    pub fn unlisted(&self) -> u64 {
        self.unlisted.get(&0, 0).unwrap_or(0)
    }

    fn take_gone(&mut self) -> Vec<Listener> {
        // Read whole before any is removed: removing the element that a walk stands on begins the walk anew.
        let gone: Vec<_> = self.gone.iter().filter_map(Result::ok).collect();
        for (key, _) in &gone {
            // An error means that it is not there, and then nothing is left to remove.
            _ = self.gone.remove(key);
        }
        gone.into_iter().map(|(_, listener)| listener.0).collect()
    }
}

/// What the walk wrote: listeners, one behind the other.
fn listed(written: &[u8], hooked: bool) -> Vec<Seen> {
    written
        .chunks_exact(size_of::<Listener>())
        .filter_map(|one| Listener::read_from_bytes(one).ok())
        .map(|it| seen(&it, hooked))
        .collect()
}

fn seen(listener: &Listener, hooked: bool) -> Seen {
    let Listener { met_full, met_full_late, .. } = *listener;
    let drops = u64::from(listener.drops.wrapping_sub(listener.drops_before));
    // A last ACK that is dropped is counted twice: where it finds no room, and by the caller.
    let (met_full, drops) =
        if hooked { (met_full, 0) } else { (met_full_late, drops.saturating_sub(2 * met_full_late)) };
    let local = rstwatch_verdict::assemble::ends(&listener.flow).0;
    Seen {
        id: (listener.sock, listener.since_ns),
        local: SocketAddr::new(local.ip().to_canonical(), local.port()),
        netns: listener.netns,
        owner: rstwatch_verdict::identity::Identity::of_task(&listener.owner),
        workload: rstwatch_verdict::identity::process(&listener.owner)
            .as_ref()
            .map(rstwatch_verdict::identity::workload),
        pid: listener.owner.tgid,
        length: listener.length,
        limit: listener.limit,
        met_full,
        drops,
        gone: listener.gone != 0,
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use rstwatch_common::flow::IPV6;

    #[test]
    fn listeners_stand_one_behind_the_other() {
        let mut one = Listener::new_zeroed();
        (one.sock, one.since_ns, one.netns, one.length, one.limit) = (7, 8, 9, 3, 2);
        (one.drops_before, one.drops, one.met_full, one.met_full_late) = (u32::MAX, 4, 4, 2);
        (one.flow.family, one.flow.local_port) = (IPV6, 80);
        one.owner.tgid = 5;
        one.owner.comm[..2].copy_from_slice(b"\x1ba");
        let mut written = one.as_bytes().to_vec();
        written.extend_from_slice(one.as_bytes());
        written.extend_from_slice(&[1, 2, 3]);
        let all = listed(&written, false);
        assert_eq!(all.len(), 2, "and a fragment is none");
        let Seen { id, local, gone, .. } = &all[1];
        assert_eq!((*id, local.to_string().as_str(), *gone), ((7, 8), "[::]:80", false));
        assert_eq!((all[1].met_full, all[1].drops), (2, 5 - 2 * 2), "a last ACK is dropped twice");
        let hooked = &listed(&written, true)[0];
        assert_eq!((hooked.met_full, hooked.drops), (4, 0));
        assert_eq!(all[0].workload.as_ref().map(|it| it.name.as_str()), Some("\\u{1b}a"));
    }

    #[test]
    fn a_mapped_address_is_shown_as_v4() {
        let mut one = Listener::new_zeroed();
        one.flow.family = IPV6;
        one.flow.local[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(seen(&one, false).local.ip().to_string(), "10.0.0.1");
        assert_eq!(seen(&one, false).workload, None);
    }
}
