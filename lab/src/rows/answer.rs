//! Questions that were open when the server closed: a silence that is no idleness.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::firewall::reject;
use super::{HELLO, Scene, idle};
use crate::kernel::Kernel;
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{Alike, BASE, BOTH, C, FIREWALL, KERNEL, PEER, Row, S, Want, like, received, sent};
use crate::wait::SOON;

/// How long the server thinks.
const THINKS: u64 = 2_200;
/// After so many exchanges a client no longer acknowledges each answer at once.
const OLD: usize = 20;

const FORGOTTEN: Alike = like("no_such_connection", PEER, "why the other end forgot is not on the wire");

const CLOSED_BUSY: &[Want] = &[sent(S, "data_after_close", KERNEL).no_socket(), received(C, "data_after_close", PEER)];
const ANSWERED_LATE: &[Want] = &[
    sent(S, "data_after_close", KERNEL).no_socket().also(&[like("unknown", KERNEL, UNSEEN)]),
    received(C, "data_after_close", PEER).also(&[like("unknown", PEER, UNSEEN)]),
];
pub(super) const UNSEEN: &str =
    "where nobody looks at connections (before Linux 5.11) a late answer and a goodbye are the same";

/// A question that comes within a tick of the last answer is told from none by a look alone.
fn no_looks(_scene: &Scene) -> Option<String> {
    (!Kernel::running().since((5, 11))).then(|| "nobody looks at connections before Linux 5.11".to_owned())
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "late-answer",
        what: "a short answer that took its time, then a close; the client asks on",
        families: BOTH,
        make: late_answer,
        rsts: &[(S, 1)],
        wants: ANSWERED_LATE,
        ..BASE
    },
    Row {
        id: "owing",
        what: "quick exchanges, the last question right after an answer and never answered; the server closes",
        unless: no_looks,
        make: owing,
        rsts: &[(S, 1)],
        wants: CLOSED_BUSY,
        ..BASE
    },
    Row {
        id: "owing-first",
        what: "the first question is never answered; the server closes",
        families: BOTH,
        make: owing_first,
        rsts: &[(S, 1)],
        wants: CLOSED_BUSY,
        ..BASE
    },
    Row {
        id: "8-push-on",
        what: "the client's own output hook rejects; the server, untouched, sends on",
        make: pushed_on,
        rsts: &[(C, 1)],
        rejects: 1,
        wants: &[
            sent(C, "firewall_reject", FIREWALL),
            received(C, "firewall_reject", FIREWALL),
            sent(C, "firewall_reject", KERNEL).no_socket(),
            received(S, "firewall_reject", PEER).alone(&[FORGOTTEN]),
        ],
        ..BASE
    },
];

fn ask_on(scene: &Scene, client: &Tcp) -> Result<()> {
    client.ends()?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.fails(EPIPE)
}

fn late_answer(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.send(HELLO)?;
    server.hear(HELLO.len())?;
    idle(THINKS);
    scene.busy();
    server.send(HELLO)?;
    server.close();
    client.hear(HELLO.len())?;
    ask_on(scene, &client)
}

fn owing(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    for _ in 0..OLD {
        scene.talk(&client, &server)?;
    }
    client.send(HELLO)?;
    server.hear(HELLO.len())?;
    idle(THINKS);
    server.close();
    ask_on(scene, &client)
}

fn owing_first(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    client.send(HELLO)?;
    server.hear(HELLO.len())?;
    idle(THINKS);
    server.close();
    ask_on(scene, &client)
}

fn pushed_on(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    {
        let rule = reject(scene, &scene.net.client, "output")?;
        client.send(HELLO)?;
        client.dies(ECONNRESET)?;
        rule.met(1, SOON)?;
    }
    std::thread::sleep(Duration::from_millis(300));
    server.send(HELLO)?;
    server.dies(ECONNRESET)
}
