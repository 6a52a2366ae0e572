//! A naive model of pairing: lists, searched from the front. It follows docs/design/pairing.md and shares no code with
//! the implementation.
//!
//! To add a rule, add it here in its simplest form, and a step to `model_tests::Step` that exercises it.

use rstwatch_common::flow::Flow;

/// Two seconds and 50 ms, as documented.
const KEPT_NS: u64 = 2_000_000_000;
const HELD_NS: u64 = 50_000_000;

/// A reset as pairing sees it. `id` distinguishes resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    pub(super) id: u32,
    /// As seen from the end that reports it.
    pub(super) flow: Flow,
    pub(super) time_ns: u64,
    pub(super) sock: u64,
    /// Of the RST; `None` where it was not seen.
    pub(super) seq: Option<u32>,
    /// A sent reset that shows that the receive of this socket was a phantom.
    pub(super) phantom: bool,
    /// A received reset that may be a phantom.
    pub(super) suspect: bool,
}

/// A released receive, and the sender that explains it.
pub(super) type Released = (u32, Option<u32>);

#[derive(Debug)]
pub(super) struct Model {
    bound: usize,
    /// In order of arrival.
    held: Vec<Reset>,
    sent: Vec<Reset>,
}

impl Model {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, held: Vec::new(), sent: Vec::new() }
    }

    /// A sender explains the oldest matching receive, or is kept.
    pub(super) fn sent(&mut self, sent: Reset) -> Option<Released> {
        if sent.phantom {
            let of_socket = |held: &Reset| held.flow == sent.flow && held.sock == sent.sock;
            remove_first(&mut self.held, of_socket);
        }
        let explained = remove_first(&mut self.held, |held| !held.suspect && match_ends(&sent, held));
        if explained.is_none() {
            evict(&mut self.sent, self.bound);
            self.sent.push(sent);
        }
        explained.map(|held| (held.id, Some(sent.id)))
    }

    /// A receive is released with the oldest matching sender, or held; then the oldest held one may be evicted. A suspect
    /// is always held.
    pub(super) fn received(&mut self, received: Reset) -> Option<Released> {
        while self.sent.first().is_some_and(|sent| received.time_ns >= sent.time_ns + KEPT_NS) {
            self.sent.remove(0);
        }
        if !received.suspect
            && let Some(sent) = remove_first(&mut self.sent, |sent| match_ends(sent, &received))
        {
            return Some((received.id, Some(sent.id)));
        }
        let evicted = evict(&mut self.held, self.bound);
        self.held.push(received);
        evicted.map(|held| self.release(held))
    }

    /// Ends a hold: only a suspect can have an earlier sender.
    fn release(&mut self, held: Reset) -> Released {
        let sender = if held.suspect { remove_first(&mut self.sent, |sent| match_ends(sent, &held)) } else { None };
        (held.id, sender.map(|sent| sent.id))
    }

    /// Released in order of arrival: a receive behind a younger one waits for that.
    pub(super) fn expired(&mut self, now_ns: u64) -> Vec<Released> {
        let mut released = Vec::new();
        while self.held.first().is_some_and(|held| now_ns >= held.time_ns + HELD_NS) {
            let held = self.held.remove(0);
            released.push(self.release(held));
        }
        released
    }

    pub(super) fn flush(&mut self) -> Vec<Released> {
        let held: Vec<_> = self.held.drain(..).collect();
        held.into_iter().map(|held| self.release(held)).collect()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Whether two resets are both ends of one RST: reversed flow, about the same time, the same number if both know it.
fn match_ends(sent: &Reset, received: &Reset) -> bool {
    let opposite = sent.flow.local == received.flow.remote
        && sent.flow.remote == received.flow.local
        && sent.flow.local_port == received.flow.remote_port
        && sent.flow.remote_port == received.flow.local_port
        && sent.flow.family == received.flow.family;
    let near = sent.time_ns.max(received.time_ns) - sent.time_ns.min(received.time_ns) < KEPT_NS;
    opposite && near && (sent.seq.is_none() || received.seq.is_none() || sent.seq == received.seq)
}

fn remove_first(list: &mut Vec<Reset>, fits: impl Fn(&Reset) -> bool) -> Option<Reset> {
    list.iter().position(fits).map(|at| list.remove(at))
}

/// Makes room for one more.
fn evict(list: &mut Vec<Reset>, bound: usize) -> Option<Reset> {
    (list.len() >= bound).then(|| list.remove(0))
}
