//! Listeners and their accept queues.

use std::collections::HashSet;
use std::net::SocketAddr;

use aya::maps::{Array, HashMap, MapData};
use rstwatch_common::listener::{Gone, Listener};
use rstwatch_common::record::Task;
use zerocopy::FromBytes;

use super::iterator::BpfIterator;
use super::load::LoadedObject;
use rstwatch_verdict::addresses::ends;

/// The iterator over listeners, and the maps that belong to it.
pub struct Listeners {
    /// Over the map `LISTENERS`, or over the listeners among the files of all tasks.
    iterator: BpfIterator,
    /// The map `GONE`.
    gone: HashMap<MapData, PlainGone, PlainListener>,
    /// The map `UNLISTED`.
    unlisted: Array<MapData, u64>,
    /// Every function that meets a full queue is hooked.
    sees_overflows: bool,
}

/// A listener at one moment.
#[derive(Clone, Copy, Debug)]
pub struct AcceptQueue {
    /// Identifies the listener: its socket's address, and when it began to listen or was first seen.
    pub id: (u64, u64),
    /// Where it listens.
    pub local: SocketAddr,
    /// Inode of its network namespace.
    pub netns: u32,
    /// The task that called listen().
    pub owner: Task,
    /// Connections in its accept queue.
    pub length: u32,
    /// The queue's limit; it takes one more.
    pub limit: u32,
    /// Handshakes that met a full queue since the listener was first seen, if a hook sees them.
    pub met_full: u64,
    /// Other drops at the listener. Where hooks do not see every overflow, some of these may be overflows, too.
    pub drops: u64,
    /// It has stopped listening, and this is its final report.
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

// SAFETY: integers without padding, valid for any bit pattern; the `wire!` macro makes zerocopy prove it.
unsafe impl aya::Pod for PlainGone {}
// SAFETY: as above.
unsafe impl aya::Pod for PlainListener {}

impl Listeners {
    /// Takes the maps out of the object. `sees_overflows`: every function that meets a full queue is hooked.
    pub(super) fn open(object: &mut LoadedObject, iterator: BpfIterator, sees_overflows: bool) -> anyhow::Result<Self> {
        let (gone, unlisted) = (object.take_map("GONE")?, object.take_map("UNLISTED")?);
        Ok(Self { iterator, gone, unlisted, sees_overflows })
    }

    /// Every listener, and each that has stopped since the last scan and had drops.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn scan(&mut self) -> std::io::Result<Vec<AcceptQueue>> {
        // Live listeners first: one that stops in between is then found among the stopped ones.
        let mut all = parse(&self.iterator.run()?, self.sees_overflows);
        all.extend(self.take_gone().iter().map(|gone| accept_queue(gone, self.sees_overflows)));
        Ok(all)
    }

    /// How many listeners the map had no space for.
    pub fn unlisted(&self) -> u64 {
        self.unlisted.get(&0, 0).unwrap_or(0)
    }

    fn take_gone(&mut self) -> Vec<Listener> {
        // Read all before removing any: a walk restarts if the key that it has reached is removed.
        let gone: Vec<_> = self.gone.iter().filter_map(Result::ok).collect();
        for (key, _) in &gone {
            // An error means that the key is not there, so nothing is left to remove.
            _ = self.gone.remove(key);
        }
        gone.into_iter().map(|(_, listener)| listener.0).collect()
    }
}

/// Reads what the iterator wrote: one record after another. A listener that several tasks hold open may be there several times.
fn parse(written: &[u8], sees_overflows: bool) -> Vec<AcceptQueue> {
    let mut seen = HashSet::new();
    written
        .chunks_exact(size_of::<Listener>())
        .filter_map(|one| Listener::read_from_bytes(one).ok())
        .map(|listener| accept_queue(&listener, sees_overflows))
        .filter(|queue| seen.insert(queue.id))
        .collect()
}

fn accept_queue(listener: &Listener, sees_overflows: bool) -> AcceptQueue {
    let Listener { met_full, met_full_late, .. } = *listener;
    let drops = u64::from(listener.drops.wrapping_sub(listener.drops_before));
    // A last ACK that is dropped counts twice: where the queue is full, and in the caller.
    let (met_full, drops) =
        if sees_overflows { (met_full, 0) } else { (met_full_late, drops.saturating_sub(2 * met_full_late)) };
    let local = ends(&listener.flow).0;
    AcceptQueue {
        id: (listener.sock, listener.since_ns),
        local: SocketAddr::new(local.ip().to_canonical(), local.port()),
        netns: listener.netns,
        owner: listener.owner,
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
    fn reads_one_listener_after_another() {
        let mut one = Listener::new_zeroed();
        (one.sock, one.since_ns, one.netns, one.length, one.limit) = (7, 8, 9, 3, 2);
        (one.drops_before, one.drops, one.met_full, one.met_full_late) = (u32::MAX, 4, 4, 2);
        (one.flow.family, one.flow.local_port) = (IPV6, 80);
        one.owner.tgid = 5;
        let mut other = one;
        other.sock = 6;
        let mut written = [other, one, other].map(|listener| listener.as_bytes().to_vec()).concat();
        written.extend_from_slice(&[1, 2, 3]);
        let all = parse(&written, false);
        assert_eq!(all.len(), 2, "a listener of several tasks counts once, and a fragment is skipped");
        let AcceptQueue { id, local, gone, owner, .. } = &all[1];
        assert_eq!((*id, local.to_string().as_str(), *gone, owner.tgid), ((7, 8), "[::]:80", false, 5));
        assert_eq!((all[1].met_full, all[1].drops), (2, 5 - 2 * 2), "a dropped last ACK counts twice");
        let hooked = &parse(&written, true)[1];
        assert_eq!((hooked.met_full, hooked.drops), (4, 0));
    }

    #[test]
    fn shows_a_mapped_address_as_v4() {
        let mut one = Listener::new_zeroed();
        one.flow.family = IPV6;
        one.flow.local[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(accept_queue(&one, false).local.ip().to_string(), "10.0.0.1");
    }
}
