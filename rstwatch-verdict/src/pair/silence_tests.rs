//! Checks the proof of silence on simulated connections: both sockets, their stacks and a device on the path, with any
//! receive's record lost. Whatever happens, no RST that an end sent is said to be another's.

use proptest::prelude::*;
use rstwatch_common::record::{ResetRecord, flags, kind, tcp_flag};

use super::{Numbers, Pairing, Ready};
use crate::evidence::SenderVerdict;
use crate::testing::fixture;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// An end sends this many bytes, if its socket lives.
    Send(usize, u32),
    /// An end's socket aborts.
    Abort(usize),
    /// A timer or a command ends an end's socket: it sends the RST before it closes, and the RST may arrive in between. A closed
    /// window lowers its number by this many bytes.
    AbortLate(usize, u32),
    /// A device resets an end: with the other's numbers, with ACK or bare.
    Inject(usize, bool),
    /// The oldest packet on its way to an end arrives.
    Deliver(usize),
}

#[derive(Clone, Copy, Debug)]
enum Packet {
    Data { seq: u32, length: u32, ack: u32 },
    Rst { numbers: Numbers, by_device: bool },
}

#[derive(Clone, Copy, Debug)]
struct Socket {
    alive: bool,
    snd_una: u32,
    snd_nxt: u32,
    rcv_nxt: u32,
}

struct World {
    sockets: [Socket; 2],
    /// On its way to each end.
    packets: [Vec<Packet>; 2],
    now_ns: u64,
    /// In order; with the truth of receives.
    records: Vec<(ResetRecord, bool)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..2usize, 1u32..2000).prop_map(|(end, bytes)| Step::Send(end, bytes)),
        1 => (0..2usize).prop_map(Step::Abort),
        1 => (0..2usize, prop_oneof![Just(0), 1u32..2000]).prop_map(|(end, by)| Step::AbortLate(end, by)),
        1 => (0..2usize, any::<bool>()).prop_map(|(end, ack)| Step::Inject(end, ack)),
        5 => (0..2usize).prop_map(Step::Deliver),
    ];
    prop::collection::vec(step, 0..30)
}

impl World {
    fn new() -> Self {
        let socket = |own, peers| Socket { alive: true, snd_una: own, snd_nxt: own, rcv_nxt: peers };
        Self {
            sockets: [socket(1000, 900_000), socket(900_000, 1000)],
            packets: [Vec::new(), Vec::new()],
            now_ns: fixture::NOW_NS,
            records: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        self.now_ns += 1000;
        match step {
            Step::Send(end, length) if self.sockets[end].alive => {
                let socket = &mut self.sockets[end];
                let data = Packet::Data { seq: socket.snd_nxt, length, ack: socket.rcv_nxt };
                socket.snd_nxt += length;
                self.packets[1 - end].push(data);
            }
            Step::Abort(end) if self.sockets[end].alive => {
                self.sockets[end].alive = false;
                let numbers = Numbers { seq: self.sockets[end].snd_nxt, ack: Some(self.sockets[end].rcv_nxt) };
                self.send_rst(end, numbers, fixture::sent_active());
            }
            Step::AbortLate(end, by) if self.sockets[end].alive => {
                let Socket { snd_nxt, rcv_nxt, .. } = self.sockets[end];
                let numbers = Numbers { seq: snd_nxt.wrapping_sub(by), ack: Some(rcv_nxt) };
                self.arrive(1 - end, Packet::Rst { numbers, by_device: false });
                self.sockets[end].alive = false;
                self.now_ns += 500;
                self.record_sent(end, Numbers { seq: snd_nxt, ..numbers }, fixture::sent_active());
            }
            Step::Inject(end, ack) => {
                let Socket { snd_nxt, rcv_nxt, .. } = self.sockets[end];
                let numbers = Numbers { seq: rcv_nxt, ack: ack.then_some(snd_nxt) };
                self.packets[end].insert(0, Packet::Rst { numbers, by_device: true });
            }
            Step::Deliver(end) if !self.packets[end].is_empty() => {
                let packet = self.packets[end].remove(0);
                self.arrive(end, packet);
            }
            _ => {}
        }
    }

    fn arrive(&mut self, end: usize, packet: Packet) {
        let socket = &mut self.sockets[end];
        match packet {
            Packet::Data { seq, length, ack } if socket.alive => {
                if seq == socket.rcv_nxt {
                    socket.rcv_nxt += length;
                }
                socket.snd_una = socket.snd_una.max(ack);
            }
            Packet::Data { ack, .. } => {
                self.send_rst(end, Numbers { seq: ack, ack: None }, fixture::sent_answer());
            }
            Packet::Rst { numbers, by_device } if socket.alive && numbers.seq == socket.rcv_nxt => {
                socket.alive = false;
                let record = self.receive(end, numbers);
                self.records.push((record, by_device));
            }
            Packet::Rst { .. } => {}
        }
    }

    fn send_rst(&mut self, end: usize, numbers: Numbers, fixture: ResetRecord) {
        self.record_sent(end, numbers, fixture);
        self.packets[1 - end].push(Packet::Rst { numbers, by_device: false });
    }

    fn record_sent(&mut self, end: usize, numbers: Numbers, fixture: ResetRecord) {
        let mut record = self.place(end, fixture);
        (record.tcp.snd_nxt, record.tcp.rcv_nxt) = (numbers.seq, numbers.ack.unwrap_or_default());
        record.segment.ack = numbers.seq;
        self.records.push((record, false));
    }

    fn receive(&self, end: usize, numbers: Numbers) -> ResetRecord {
        let mut record = self.place(end, fixture::received());
        let Socket { snd_una, snd_nxt, rcv_nxt, .. } = self.sockets[end];
        (record.tcp.snd_una, record.tcp.snd_nxt, record.tcp.rcv_nxt) = (snd_una, snd_nxt, rcv_nxt);
        record.segment.flags = tcp_flag::RST | numbers.ack.map_or(0, |_| tcp_flag::ACK);
        (record.segment.seq, record.segment.ack) = (numbers.seq, numbers.ack.unwrap_or_default());
        let other = &self.sockets[1 - end];
        let is_expected = |number: u32, una: u32, nxt: u32| number.wrapping_sub(una) <= nxt.wrapping_sub(una);
        if other.alive
            && is_expected(rcv_nxt, other.snd_una, other.snd_nxt)
            && is_expected(other.rcv_nxt, snd_una, snd_nxt)
        {
            record.flags |= flags::OTHER_END_ALIVE;
        }
        record
    }

    /// The second end's side of the flow.
    fn place(&self, end: usize, mut record: ResetRecord) -> ResetRecord {
        record.time_ns = self.now_ns;
        record.flow = if end == 0 { record.flow } else { record.flow.reversed() };
        record
    }
}

fn verdict() -> SenderVerdict {
    fixture::linger_abort("".into())
}

/// What pairing says of the records that were not lost.
fn paired(records: impl Iterator<Item = ResetRecord>) -> Vec<Ready> {
    let mut pairing = Pairing::default();
    let mut all = Vec::new();
    for record in records {
        if record.kind == kind::RECEIVED {
            all.extend(pairing.received(record));
        } else {
            all.extend(pairing.sent(&record, verdict()));
        }
    }
    all.extend(std::iter::from_fn(|| pairing.release_if(|_| true)));
    all
}

fn played(steps: &[Step]) -> World {
    let mut world = World::new();
    steps.iter().for_each(|step| world.step(*step));
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_rst_of_the_other_end_is_called_anothers(steps in steps(), lost in prop::collection::vec(any::<bool>(), 30)) {
        let world = played(&steps);
        let kept = world.records.iter().zip(lost.iter().chain(std::iter::repeat(&false)));
        let kept = kept.filter(|((record, _), lost)| record.kind != kind::RECEIVED || !**lost);
        for ready in paired(kept.map(|((record, _), _)| *record)) {
            let by_device = world.records.iter().any(|(record, by_device)| {
                record.time_ns == ready.record.time_ns && *by_device
            });
            prop_assert!(!ready.other_end_silent || by_device, "{ready:?}");
        }
    }
}

/// The simulation is useful only if the proof is found in it, for either end.
#[test]
fn a_device_that_resets_both_ends_is_found() {
    use Step::{Deliver, Inject};
    let both = played(&[Inject(0, true), Inject(1, true), Deliver(0), Deliver(1)]);
    let silent = |world: &World| {
        paired(world.records.iter().map(|(record, _)| *record)).iter().filter(|ready| ready.other_end_silent).count()
    };
    assert_eq!(silent(&both), 2);
    let bare = played(&[Inject(0, false), Inject(1, false), Deliver(0), Deliver(1)]);
    assert_eq!(silent(&bare), 2);
    let one = played(&[Inject(0, false), Deliver(0)]);
    assert_eq!(silent(&one), 1);
    // The server sends on; the client's stack answers.
    let answered = played(&[Inject(0, true), Deliver(0), Step::Send(1, 100), Deliver(0), Deliver(1)]);
    assert_eq!(silent(&answered), 1);
    let none = played(&[Step::Send(1, 100), Step::Abort(1), Deliver(0), Deliver(0)]);
    assert_eq!((silent(&none), none.records.len()), (0, 2));
    let by_timer = played(&[Step::AbortLate(1, 0)]);
    assert_eq!((silent(&by_timer), by_timer.records.len()), (0, 2));
    let in_closed_window = played(&[Step::Send(1, 100), Step::AbortLate(1, 100)]);
    assert_eq!((silent(&in_closed_window), in_closed_window.records.len()), (0, 2));
}
