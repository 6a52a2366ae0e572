//! More evidence never makes a verdict worse.
//!
//! The golden cases of sent resets are the truths: with all of its evidence, each names one cause. What the other end's
//! socket accepts is derived from them ([`ends`]), as are resets that a device made. Then evidence is hidden, in every
//! combination, and the verdicts are compared along each step that adds one piece.

use std::collections::BTreeMap;

use rstwatch_common::record::{ConnState, ResetRecord, flags, kind, present, role, sk_class};
use zerocopy::{FromZeros, IntoBytes};

use super::Stages;
use crate::cause::{Confidence, Direction};
use crate::event::Event;
use crate::pair::silence::Losses;
use crate::testing::fixture::{self, NOW_NS, reason};
use ends::Scene;

mod devices;
mod ends;

/// A piece of evidence that may be missing, and how it is hidden from the record of an end.
struct Piece {
    what: &'static str,
    hide: fn(&mut ResetRecord),
}

const fn piece(what: &'static str, hide: fn(&mut ResetRecord)) -> Piece {
    Piece { what, hide }
}

/// Each applies to the records that have it.
const PIECES: &[Piece] = &[
    piece("the sender's connection state or tombstone", |it| {
        if it.kind != kind::RECEIVED && it.sk_class != sk_class::LISTEN {
            it.conn = ConnState::new_zeroed();
            it.flags &= !(flags::CONN_STATE | flags::TOMBSTONE);
        }
    }),
    piece("the kernel's reason of an abort", |it| {
        if it.kind == kind::SENT {
            it.conn.reset.reason = reason("NOT_SPECIFIED");
            it.reason = if it.flags & flags::SKB == 0 { reason("NOT_SPECIFIED") } else { it.reason };
        }
    }),
    piece("samples", |it| it.conn.sampled = FromZeros::new_zeroed()),
    piece("the conntrack table", |it| it.conntrack_full_ns = 0),
    piece("the live connection behind an untranslated segment", |it| {
        if it.flags & flags::UNTRANSLATED != 0 {
            it.flags &= !flags::UNTRANSLATED;
            it.task = FromZeros::new_zeroed();
        }
    }),
    // The socket had no room in the kernel side's table until it was closed or aborted.
    piece("the beginning of the connection", |it| {
        if matches!(it.conn.role, role::CLIENT | role::SERVER) {
            it.conn = ConnState { role: role::UNKNOWN, established_ns: 0, ttl: 0, ..it.conn };
        }
    }),
    piece("the RST's header", |it| {
        if it.kind == kind::RECEIVED {
            it.segment.present &= !present::SEGMENT;
        }
    }),
    piece("the receiver's connection state", |it| {
        if it.kind == kind::RECEIVED {
            it.conn = ConnState { role: role::UNKNOWN, ..FromZeros::new_zeroed() };
            it.flags &= !(flags::CONN_STATE | flags::OTHER_END_ALIVE);
        }
    }),
    piece("the other end's socket", |it| it.flags &= !flags::OTHER_END_ALIVE),
];

/// Further pieces: whether other records than the receiver's are seen, and whether losses are counted.
const OTHERS_SEEN: usize = 1 << PIECES.len();
const LOSSES_COUNTED: usize = 1 << (PIECES.len() + 1);
const ALL: usize = (1 << (PIECES.len() + 2)) - 1;

fn scenes() -> impl Iterator<Item = Scene> {
    ends::scenes().into_iter().chain(devices::scenes())
}

fn name(bit: usize) -> &'static str {
    match 1 << bit {
        OTHERS_SEEN => "the other records",
        LOSSES_COUNTED => "the losses",
        _ => PIECES[bit].what,
    }
}

/// The combinations of evidence that differ in this scene: what it does not have counts as seen.
fn vantages(scene: &Scene) -> impl Iterator<Item = usize> {
    let has = |piece: &Piece| {
        scene.records.iter().any(|record| {
            let mut hidden = *record;
            (piece.hide)(&mut hidden);
            hidden.as_bytes() != record.as_bytes()
        })
    };
    let pieces = PIECES.iter().enumerate().filter(|(_, piece)| has(piece)).fold(0, |all, (bit, _)| all | 1 << bit);
    let others = if scene.records.len() > 1 { OTHERS_SEEN | LOSSES_COUNTED } else { 0 };
    let proven = scene.records.iter().any(|record| record.flags & flags::OTHER_END_ALIVE != 0);
    let losses = if proven { LOSSES_COUNTED } else { 0 };
    let absent = ALL & !(pieces | others | losses);
    (0..=ALL).filter(move |seen| seen & absent == absent)
}

/// The event of the scene's reset at the end in question, of the evidence that is seen.
fn judged(scene: &Scene, seen: usize, receiver_first: bool) -> Option<Event> {
    let hidden = PIECES.iter().enumerate().filter(|(bit, _)| seen & 1 << bit == 0);
    let mut records = scene.records.clone();
    records.iter_mut().for_each(|record| hidden.clone().for_each(|(_, piece)| (piece.hide)(record)));
    let judged = records[scene.judged];
    if seen & OTHERS_SEEN == 0 {
        records = vec![judged];
    } else if receiver_first {
        // The record of a receive may come before its sender's, but not after the answers of the stack that it left.
        let last = records.len() - 1;
        records.swap(last, last.saturating_sub(1));
    }
    let mut stages = Stages::new(fixture::context());
    if seen & LOSSES_COUNTED != 0 {
        let count = u64::from(seen & OTHERS_SEEN == 0);
        stages = stages.with_losses(Box::new(move || Some(Losses { count, time_ns: NOW_NS })));
    }
    records.iter().for_each(|record| stages.record(record, &|| 0));
    stages.expire(NOW_NS + 1_000_000_000, &|| 0);
    let direction = if judged.kind == kind::RECEIVED { Direction::Received } else { Direction::Sent };
    let (local, _) = crate::addresses::ends(&judged.flow);
    std::iter::from_fn(|| stages.pop())
        .map(|judged| judged.event)
        .find(|event| event.direction == direction && event.local == local)
}

fn holds(event: &Event, scene: &Scene) -> bool {
    scene.truths.iter().any(|truth| event.cause == *truth || event.candidates.contains(truth))
}

/// What is worse in the second verdict, which has more evidence.
fn worse(less: &Event, more: &Event, scene: &Scene) -> Option<&'static str> {
    let names_sender = |event: &Event| scene.senders.contains(&event.sender);
    let held = holds(less, scene);
    if held && !holds(more, scene) {
        return Some("the truth is lost");
    }
    if names_sender(less) && !names_sender(more) {
        return Some("the sender was right");
    }
    if names_sender(less) && more.sender_confidence > less.sender_confidence {
        return Some("the sender was surer");
    }
    // A deeper cause may be less sure than what it brought about, but it is no guess.
    let weaker = more.confidence > less.confidence;
    if held && names_sender(less) && weaker && (more.cause == less.cause || more.confidence == Confidence::Guess) {
        return Some("the cause was surer");
    }
    None
}

fn say(event: &Event) -> String {
    let candidates: Vec<_> = event.candidates.iter().map(|cause| cause.as_str()).collect();
    format!(
        "{} {} {:?} by {} {} ({})",
        event.cause, event.confidence, candidates, event.sender, event.sender_confidence, event.because[0]
    )
}

#[test]
fn more_evidence_is_never_worse() {
    let mut violations: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut matters = 0;
    for scene in scenes() {
        for receiver_first in [false, true] {
            let events: BTreeMap<_, _> =
                vantages(&scene).map(|seen| (seen, judged(&scene, seen, receiver_first))).collect();
            for (seen, bit) in events.keys().flat_map(|seen| (0..PIECES.len() + 2).map(move |bit| (*seen, bit))) {
                let Some(Some(more)) = events.get(&(seen | 1 << bit)) else { continue };
                let Some(less) = &events[&seen] else { continue };
                if seen & 1 << bit == 0 && (less.sender, &less.candidates) != (more.sender, &more.candidates) {
                    matters |= 1 << bit;
                }
                let Some(what) = worse(less, more, &scene) else { continue };
                let key = format!("{}: {what} with {}", scene.name, name(bit));
                let text = format!("{seen:08b}\n  less: {}\n  more: {}", say(less), say(more));
                violations.entry(key).or_insert((0, text)).0 += 1;
            }
        }
    }
    let text: Vec<_> = violations.iter().map(|(key, (count, text))| format!("{key} ({count}) {text}")).collect();
    let idle: Vec<_> = (0..PIECES.len() + 2).filter(|bit| matters & 1 << bit == 0).map(name).collect();
    assert!(idle.is_empty(), "no verdict depends on {idle:?}");
    assert!(text.is_empty(), "{} violations\n{}", text.len(), text.join("\n"));
}

/// However little is seen, `certain` is certain.
#[test]
fn certain_is_certain_from_every_vantage() {
    for scene in scenes() {
        for event in vantages(&scene).filter_map(|seen| judged(&scene, seen, false)) {
            let certain = event.confidence == Confidence::Certain;
            assert!(!certain || scene.truths.contains(&event.cause), "{}: {}", scene.name, say(&event));
            let sure_sender = event.sender_confidence == Confidence::Certain;
            assert!(!sure_sender || scene.senders.contains(&event.sender), "{}: {}", scene.name, say(&event));
        }
    }
}
