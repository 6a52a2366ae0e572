//! Resets that somebody on the path makes in the peer's name, one sign at a time.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use libc::ECONNRESET;

use super::middlebox::untouched;
use super::{HELLO, Scene, idle};
use crate::network::packet::{ACK, Forged, RST};
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::{Tcp, forge};
use crate::rows::table::{Alike, BASE, BOTH, C, KERNEL, MIDDLEBOX, PEER, Row, S, Want, like, received, sent};
use crate::rows::wire::{SlowHop, Sniffer};

/// Far from any TTL that the peer's own packets arrive with.
const FAR: u8 = 200;
/// As the peer's own packets arrive, one router away.
const EQUAL: u8 = 63;
/// As nothing from beyond a router can arrive: made on this very link.
const UNDECREMENTED: u8 = 64;
/// No stack's bare RST has one, and no reject's: the server's own host did not make it.
const DEVICE_WINDOW: u16 = 502;
const DELAY: Duration = Duration::from_millis(40);

const INJECTED: &[Want] = &[received(C, "middlebox_injected", MIDDLEBOX)];
const REJECT: Alike = like("firewall_reject", MIDDLEBOX, "a reject on the path sends the same packet");
const NOT_KNOWN_HERE: Alike =
    like("no_such_connection", KERNEL, "true of the answering stack: the forged RST had ended its connection before");
const NOT_KNOWN_THERE: Alike = like(
    "no_such_connection",
    PEER,
    "a bare RST by the peer's own stack: what had ended the connection there stays there",
);

const UNDECIDED: Alike = like(
    "unknown",
    KERNEL,
    "an injected RST and a reject by the peer's own host look alike, so what ended the connection here stays open",
);
const REJECTS_ACKS: Alike = like(
    "firewall_reject",
    PEER,
    "a firewall of the peer's own host that rejects our ACKs sends just this, while its stack sends on",
);

pub(crate) const ROWS: &[Row] = &[
    Row { id: "9", what: "forged RST, TTL 200, exact sequence", families: BOTH, make: far, wants: INJECTED, ..BASE },
    Row {
        id: "9-link",
        what: "forged RST in a busy connection, TTL 64 where the peer's packets have 63",
        families: BOTH,
        make: undecremented,
        wants: &[received(C, "middlebox_injected", MIDDLEBOX).also(&[REJECT])],
        ..BASE
    },
    Row {
        id: "9-server",
        what: "the same, to the server",
        make: to_server,
        wants: &[received(S, "middlebox_injected", MIDDLEBOX).also(&[REJECT])],
        ..BASE
    },
    Row {
        id: "9-data",
        what: "forged RST with the peer's TTL in a download; a window, and the peer's data keeps coming",
        families: BOTH,
        make: |scene| data_goes_on(scene, DEVICE_WINDOW),
        rsts: &[(C, 1)],
        more: true,
        wants: &[
            received(C, "middlebox_injected", MIDDLEBOX),
            sent(C, "middlebox_injected", KERNEL).some().no_socket().also(&[NOT_KNOWN_HERE]),
            received(S, "middlebox_injected", PEER).also(&[NOT_KNOWN_THERE]),
        ],
        ..BASE
    },
    Row {
        id: "9-data-bare",
        what: "forged RST with the peer's TTL in a download; the shape of a reject, and the peer's data keeps coming",
        make: |scene| data_goes_on(scene, 0),
        rsts: &[(C, 1)],
        more: true,
        wants: &[
            received(C, "middlebox_injected", MIDDLEBOX).also(&[REJECTS_ACKS]),
            sent(C, "middlebox_injected", KERNEL).some().no_socket().also(&[NOT_KNOWN_HERE, UNDECIDED]),
            received(S, "middlebox_injected", PEER).also(&[NOT_KNOWN_THERE]),
        ],
        ..BASE
    },
    Row {
        id: "9-burst",
        what: "three forged RSTs with staggered sequences and the peer's TTL",
        make: staggered,
        wants: INJECTED,
        ..BASE
    },
    Row {
        id: "9-fast",
        what: "forged RST with the peer's TTL, sooner than the peer could answer",
        make: too_fast,
        wants: INJECTED,
        ..BASE
    },
    Row {
        id: "9-bare-ts",
        what: "forged RST with ACK and the peer's TTL, without the connection's timestamps",
        make: without_timestamps,
        wants: INJECTED,
        ..BASE
    },
    Row {
        id: "9-blind",
        what: "blind RST (challenge ACK), then an exact one, both with the peer's TTL",
        make: blind_then_exact,
        wants: INJECTED,
        ..BASE
    },
    Row {
        id: "9-idle",
        what: "a device resets a connection that was quiet, TTL 64 where the peer's packets have 63",
        make: quiet,
        wants: &[received(C, "middlebox_idle", MIDDLEBOX)],
        ..BASE
    },
];

fn far(scene: &Scene) -> Result<()> {
    exact(scene, FAR)
}

fn undecremented(scene: &Scene) -> Result<()> {
    exact(scene, UNDECREMENTED)
}

fn exact(scene: &Scene, ttl: u8) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    inject(scene, &client, server.next_sequence()?, ttl)?;
    client.dies(ECONNRESET)?;
    untouched(scene, &server)
}

fn to_server(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let rst = Forged::rst(client.local()?, scene.server(), client.next_sequence()?, UNDECREMENTED);
    forge(&scene.net.router, &rst)?;
    server.dies(ECONNRESET)?;
    scene.reaches(Place::Client, State::ESTABLISHED, Duration::ZERO)
}

/// As a device does it: it reads the sequence off the wire, and is faster than the next
/// segment.
fn data_goes_on(scene: &Scene, window: u16) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.streams();
    let to = client.local()?;
    let wire = Sniffer::open(&scene.net.router, scene.family, scene.port)?;
    let end = thread::scope(|scope| {
        let download = scope.spawn(|| client.drain());
        let flow = scope.spawn(|| server.pour(&[b'x'; 512], Duration::from_millis(10), Duration::from_secs(4)));
        idle(200);
        while !download.is_finished() {
            let segment = wire.wait(|segment| segment.from == scene.port && segment.payload > 0)?;
            let rst = Forged::rst(scene.server(), to, segment.end(), EQUAL);
            forge(&scene.net.router, &Forged { window, ..rst })?;
        }
        let cut = flow.join().map_err(|_| anyhow!("the server panicked"))?;
        ensure!(cut, "the server went on");
        download.join().map_err(|_| anyhow!("the client panicked"))
    })?;
    crate::network::sock::expect(ECONNRESET, end)
}

fn staggered(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let (first, to) = (server.next_sequence()?, client.local()?);
    for step in [0, 1460, 2920] {
        let sequence = first.wrapping_add(step);
        forge(&scene.net.router, &Forged::rst(scene.server(), to, sequence, EQUAL))?;
    }
    client.dies(ECONNRESET)?;
    untouched(scene, &server)
}

fn too_fast(scene: &Scene) -> Result<()> {
    let hop = SlowHop::start(scene, DELAY)?;
    let (client, server) = scene.pair()?;
    scene.talk(&client, &server)?;
    scene.busy();
    let (sequence, wire) = (server.next_sequence()?, Sniffer::open(&scene.net.router, scene.family, scene.port)?);
    let to = client.local()?;
    // Not a delayed ACK of the talk: the next request.
    thread::sleep(2 * DELAY);
    hop.cut();
    client.send(HELLO)?;
    wire.wait(|segment| segment.to == scene.port && segment.payload > 0)?;
    forge(&scene.net.router, &Forged::rst(scene.server(), to, sequence, EQUAL))?;
    client.dies(ECONNRESET)?;
    untouched(scene, &server)
}

fn without_timestamps(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let rst = Forged::rst(scene.server(), client.local()?, server.next_sequence()?, EQUAL);
    let acknowledges = client.next_sequence()?;
    forge(&scene.net.router, &Forged { flags: RST | ACK, acknowledges, window: 502, ..rst })?;
    client.dies(ECONNRESET)?;
    untouched(scene, &server)
}

fn blind_then_exact(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let wire = Sniffer::open(&scene.net.router, scene.family, scene.port)?;
    let exact = server.next_sequence()?;
    inject(scene, &client, exact.wrapping_add(50), EQUAL)?;
    wire.wait(|segment| segment.to == scene.port && segment.payload == 0 && segment.acknowledges == exact)?;
    inject(scene, &client, exact, EQUAL)?;
    client.dies(ECONNRESET)?;
    untouched(scene, &server)
}

fn quiet(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let quiet = std::time::Instant::now();
    idle(1500);
    scene.idle_since(quiet);
    inject(scene, &client, server.next_sequence()?, UNDECREMENTED)?;
    client.dies(ECONNRESET)?;
    untouched(scene, &server)
}

/// One bare RST from the router to the client, in the server's name.
pub(super) fn inject(scene: &Scene, client: &Tcp, sequence: u32, ttl: u8) -> Result<()> {
    forge(&scene.net.router, &Forged::rst(scene.server(), client.local()?, sequence, ttl))
}
