//! A naive model of pairing: lists, searched from the front. It follows docs/design/pairing.md and shares no code with
//! the implementation.
//!
//! To add a rule, add it here in its simplest form, and a step to `model_tests::Step` that exercises it.

use rstwatch_common::flow::Flow;

/// Two seconds and 50 ms, as documented.
const KEPT_NS: u64 = 2_000_000_000;
const HELD_NS: u64 = 50_000_000;
/// Entries of one number that are looked at.
const SAME_NUMBER: usize = 16;

/// An RST's sequence number, and its acknowledgement number if it has one.
pub(super) type Numbers = (u32, Option<u32>);

/// A reset as pairing sees it. `id` distinguishes resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    pub(super) id: u32,
    /// As seen from the end that reports it.
    pub(super) flow: Flow,
    pub(super) time_ns: u64,
    pub(super) sock: u64,
    /// Of the RST; `None` where they were not seen.
    pub(super) numbers: Option<Numbers>,
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
        let explained = remove_first(&mut self.held, |held| !held.suspect && match_ends(&sent, held))
            .or_else(|| remove_of_number(&mut self.held, &sent, |held| !held.suspect && match_translated(&sent, held)));
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
            && let Some(sent) = self.sender_of(&received)
        {
            return Some((received.id, Some(sent.id)));
        }
        let evicted = evict(&mut self.held, self.bound);
        self.held.push(received);
        evicted.map(|held| self.release(held))
    }

    /// An exactly reversed flow comes before a translated one.
    fn sender_of(&mut self, received: &Reset) -> Option<Reset> {
        remove_first(&mut self.sent, |sent| match_ends(sent, received))
            .or_else(|| remove_of_number(&mut self.sent, received, |sent| match_translated(sent, received)))
    }

    /// Ends a hold: only a suspect can have an earlier sender.
    fn release(&mut self, held: Reset) -> Released {
        let sender = if held.suspect { self.sender_of(&held) } else { None };
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

/// Whether two resets are both ends of one RST: reversed flow, about the same time, the same number and
/// shape if both know them.
pub(super) fn match_ends(sent: &Reset, received: &Reset) -> bool {
    let opposite = sent.flow.local == received.flow.remote
        && sent.flow.remote == received.flow.local
        && sent.flow.local_port == received.flow.remote_port
        && sent.flow.remote_port == received.flow.local_port
        && sent.flow.family == received.flow.family;
    let same_numbers = match (sent.numbers, received.numbers) {
        (Some(sent), Some(received)) => sent.0 == received.0 && sent.1.is_none() == received.1.is_none(),
        _ => true,
    };
    opposite && are_near(sent, received) && same_numbers
}

fn are_near(sent: &Reset, received: &Reset) -> bool {
    sent.time_ns.max(received.time_ns) - sent.time_ns.min(received.time_ns) < KEPT_NS
}

/// Whether two resets are both ends of one RST that was translated between them.
fn match_translated(sent: &Reset, received: &Reset) -> bool {
    let (Some(numbers), true) = (sent.numbers, sent.numbers == received.numbers) else { return false };
    let (there, here) = (sent.flow, received.flow);
    let sender_unchanged = there.local == here.remote && there.local_port == here.remote_port;
    let receiver_unchanged = there.remote == here.local && there.remote_port == here.local_port;
    let one_sided = there.family == here.family && (sender_unchanged || receiver_unchanged);
    let ports_unchanged = there.local_port == here.remote_port && there.remote_port == here.local_port;
    let two_numbers = matches!(numbers, (1.., Some(1..)));
    are_near(sent, received) && (one_sided || ports_unchanged || two_numbers)
}

/// The number under which a reset is found: the first that is not 0.
fn number(reset: &Reset) -> Option<u32> {
    match reset.numbers? {
        (0, None | Some(0)) => None,
        (0, Some(ack)) => Some(ack),
        (seq, _) => Some(seq),
    }
}

/// Removes the first fitting reset with the number of another, of the first few with that number.
fn remove_of_number(list: &mut Vec<Reset>, other: &Reset, fits: impl Fn(&Reset) -> bool) -> Option<Reset> {
    number(other)?;
    let mut of_number = list.iter().enumerate().filter(|(_, reset)| number(reset) == number(other)).take(SAME_NUMBER);
    let at = of_number.find(|(_, reset)| fits(reset))?.0;
    Some(list.remove(at))
}

fn remove_first(list: &mut Vec<Reset>, fits: impl Fn(&Reset) -> bool) -> Option<Reset> {
    list.iter().position(fits).map(|at| list.remove(at))
}

/// Makes room for one more.
fn evict(list: &mut Vec<Reset>, bound: usize) -> Option<Reset> {
    (list.len() >= bound).then(|| list.remove(0))
}
