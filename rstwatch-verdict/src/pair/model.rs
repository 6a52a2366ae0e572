//! The flow table, plainly: lists, searched from the front. It keeps to what docs/design/pairing.md
//! says, and shares no code with the real one.
//!
//! To add a rule, add it here in its plainest form, and a step to `tests::Step` that exercises it.

use rstwatch_common::flow::Flow;

/// Two seconds and 50 ms, as documented.
const REMEMBERED_NS: u64 = 2_000_000_000;
const HELD_NS: u64 = 50_000_000;

/// A reset, as far as pairing goes. `id` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    pub(super) id: u32,
    /// From the end that reports it.
    pub(super) flow: Flow,
    pub(super) time_ns: u64,
    pub(super) sock: u64,
    /// Of the RST; `None` where it was not seen.
    pub(super) seq: Option<u32>,
    /// A sent one that says: the receive of this very socket was none.
    pub(super) phantom: bool,
    /// A received one that may be a phantom.
    pub(super) suspect: bool,
}

/// A receive that leaves, and the sender that explains it.
pub(super) type Left = (u32, Option<u32>);

#[derive(Debug)]
pub(super) struct Model {
    bound: usize,
    /// In the order of their coming.
    held: Vec<Reset>,
    sent: Vec<Reset>,
}

impl Model {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, held: Vec::new(), sent: Vec::new() }
    }

    /// A sender explains the oldest receive that is its own, or is remembered.
    pub(super) fn sent(&mut self, sent: Reset) -> Option<Left> {
        if sent.phantom {
            let of_socket = |held: &Reset| held.flow == sent.flow && held.sock == sent.sock;
            remove_first(&mut self.held, of_socket);
        }
        let explained = remove_first(&mut self.held, |held| !held.suspect && are_one(&sent, held));
        if explained.is_none() {
            push_out(&mut self.sent, self.bound);
            self.sent.push(sent);
        }
        explained.map(|held| (held.id, Some(sent.id)))
    }

    /// A receive leaves with the oldest sender that is its own, or waits; then the oldest may have to leave for it. One
    /// that may be a phantom waits in any case.
    pub(super) fn received(&mut self, received: Reset) -> Option<Left> {
        while self.sent.first().is_some_and(|sent| received.time_ns >= sent.time_ns + REMEMBERED_NS) {
            self.sent.remove(0);
        }
        if !received.suspect
            && let Some(sent) = remove_first(&mut self.sent, |sent| are_one(sent, &received))
        {
            return Some((received.id, Some(sent.id)));
        }
        let leaves = push_out(&mut self.held, self.bound);
        self.held.push(received);
        leaves.map(|held| self.leave(held))
    }

    /// Done waiting: only one that may have been a phantom can have a sender that came before.
    fn leave(&mut self, held: Reset) -> Left {
        let sender = if held.suspect { remove_first(&mut self.sent, |sent| are_one(sent, &held)) } else { None };
        (held.id, sender.map(|sent| sent.id))
    }

    /// Leave in the order of their coming: one that came behind a younger one waits for that.
    pub(super) fn expired(&mut self, now_ns: u64) -> Vec<Left> {
        let mut left = Vec::new();
        while self.held.first().is_some_and(|held| now_ns >= held.time_ns + HELD_NS) {
            let held = self.held.remove(0);
            left.push(self.leave(held));
        }
        left
    }

    pub(super) fn flush(&mut self) -> Vec<Left> {
        let held: Vec<_> = self.held.drain(..).collect();
        held.into_iter().map(|held| self.leave(held)).collect()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Both ends of one RST: the flow reversed, at about the time, the same number where both know it.
fn are_one(sent: &Reset, received: &Reset) -> bool {
    let opposite = sent.flow.local == received.flow.remote
        && sent.flow.remote == received.flow.local
        && sent.flow.local_port == received.flow.remote_port
        && sent.flow.remote_port == received.flow.local_port
        && sent.flow.family == received.flow.family;
    let near = sent.time_ns.max(received.time_ns) - sent.time_ns.min(received.time_ns) < REMEMBERED_NS;
    opposite && near && (sent.seq.is_none() || received.seq.is_none() || sent.seq == received.seq)
}

fn remove_first(list: &mut Vec<Reset>, fits: impl Fn(&Reset) -> bool) -> Option<Reset> {
    list.iter().position(fits).map(|at| list.remove(at))
}

/// Room for one more.
fn push_out(list: &mut Vec<Reset>, bound: usize) -> Option<Reset> {
    (list.len() >= bound).then(|| list.remove(0))
}
