//! RSTs that a device on the path forges in the peer's name. Each row has one sign of forgery.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use libc::ECONNRESET;

use super::middlebox::untouched;
use super::{HELLO, Scene, idle};
use crate::network::host::Host;
use crate::network::packet::{ACK, ForgedSegment, RST};
use crate::network::procnet::State;
use crate::network::sock::{Tcp, forge};
use crate::rows::table::{BASE, BOTH, C, KERNEL, MIDDLEBOX, ON_PATH, PEER, Row, S, Want, imitated, received, sent};
use crate::rows::wire::{SlowHop, Sniffer};

/// Far from the TTL of the peer's own packets.
const FAR: u8 = 200;
/// The TTL of the peer's own packets, one router away.
const EQUAL: u8 = 63;
/// The initial TTL: no packet that a router forwarded can have it, so the RST was made on this link.
const UNDECREMENTED: u8 = 64;
/// A nonzero window. Bare RSTs of stacks and of rejects have none, so the server's host did not make this RST.
const DEVICE_WINDOW: u16 = 502;
const DELAY: Duration = Duration::from_millis(40);

const INJECTED: &[Want] = &[received(C, "middlebox_injected", MIDDLEBOX)];
const IMITATED: &[Want] = &[imitated(C)];
const ENDED_THERE: &str =
    "a bare RST by the peer's own stack: nothing at this end shows that a forged RST had ended the connection there";
const REJECTS_ACKS: &str = "a firewall on the peer's host that rejects our ACKs sends the same packet, while the peer's \
    stack keeps sending";

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "9",
        what: "forged RST with TTL 200 and the exact sequence number",
        families: BOTH,
        make: far,
        wants: INJECTED,
        ..BASE
    },
    Row {
        id: "9-link",
        what: "forged RST on a busy connection, with TTL 64 instead of the peer's 63",
        families: BOTH,
        make: undecremented,
        wants: &[received(C, "middlebox_injected", MIDDLEBOX).why(ON_PATH)],
        ..BASE
    },
    Row {
        id: "9-server",
        what: "forged RST to the server on a busy connection, with TTL 64 instead of the peer's 63",
        make: to_server,
        wants: &[received(S, "middlebox_injected", MIDDLEBOX).why(ON_PATH)],
        ..BASE
    },
    Row {
        id: "9-data",
        what: "forged RST with the peer's TTL and a nonzero window during a download; the peer keeps sending",
        families: BOTH,
        make: |scene| data_goes_on(scene, DEVICE_WINDOW),
        rsts: &[(C, 1)],
        more: true,
        wants: &[
            received(C, "middlebox_injected", MIDDLEBOX),
            sent(C, "middlebox_injected", KERNEL).some().no_socket(),
            received(S, "middlebox_injected", PEER).why(ENDED_THERE),
        ],
        ..BASE
    },
    Row {
        id: "9-data-bare",
        what: "forged RST with the peer's TTL and the shape of a reject's RST during a download; the peer keeps sending",
        make: |scene| data_goes_on(scene, 0),
        rsts: &[(C, 1)],
        more: true,
        wants: &[
            imitated(C).why(REJECTS_ACKS),
            sent(C, "middlebox_injected", KERNEL).some().no_socket().why(REJECTS_ACKS),
            received(S, "middlebox_injected", PEER).why(ENDED_THERE),
        ],
        ..BASE
    },
    Row {
        id: "9-burst",
        what: "three forged RSTs with staggered sequence numbers and the peer's TTL",
        make: staggered,
        wants: IMITATED,
        ..BASE
    },
    Row {
        id: "9-fast",
        what: "forged RST with the peer's TTL, sooner than the peer could respond",
        make: too_fast,
        wants: IMITATED,
        ..BASE
    },
    Row {
        id: "9-bare-ts",
        what: "forged RST with ACK and the peer's TTL, without the connection's TCP timestamps",
        make: without_timestamps,
        wants: IMITATED,
        ..BASE
    },
    Row {
        id: "9-blind",
        what: "forged RST that draws a challenge ACK, then one with the exact sequence number, both with the peer's TTL",
        make: blind_then_exact,
        wants: IMITATED,
        ..BASE
    },
    Row {
        id: "9-idle",
        what: "device resets an idle connection, with TTL 64 instead of the peer's 63",
        make: idle_connection,
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
    client.read_fails(ECONNRESET)?;
    untouched(scene, &server)
}

fn to_server(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let rst = ForgedSegment::rst(client.local()?, scene.server(), client.next_sequence()?, UNDECREMENTED);
    forge(&scene.net.router, &rst)?;
    server.read_fails(ECONNRESET)?;
    scene.reaches(Host::Client, State::ESTABLISHED, Duration::ZERO)
}

/// Reads the sequence number off the wire, as a device does, and is faster than the next segment.
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
            let rst = ForgedSegment::rst(scene.server(), to, segment.end(), EQUAL);
            forge(&scene.net.router, &ForgedSegment { window, ..rst })?;
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
        forge(&scene.net.router, &ForgedSegment::rst(scene.server(), to, sequence, EQUAL))?;
    }
    client.read_fails(ECONNRESET)?;
    untouched(scene, &server)
}

fn too_fast(scene: &Scene) -> Result<()> {
    let hop = SlowHop::start(scene, DELAY)?;
    let (client, server) = scene.pair()?;
    scene.talk(&client, &server)?;
    scene.busy();
    let (sequence, wire) = (server.next_sequence()?, Sniffer::open(&scene.net.router, scene.family, scene.port)?);
    let to = client.local()?;
    // Skips the delayed ACK of the last exchange, so that the next segment is a request.
    thread::sleep(2 * DELAY);
    hop.cut();
    client.send(HELLO)?;
    wire.wait(|segment| segment.to == scene.port && segment.payload > 0)?;
    forge(&scene.net.router, &ForgedSegment::rst(scene.server(), to, sequence, EQUAL))?;
    client.read_fails(ECONNRESET)?;
    untouched(scene, &server)
}

fn without_timestamps(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let rst = ForgedSegment::rst(scene.server(), client.local()?, server.next_sequence()?, EQUAL);
    let acknowledges = client.next_sequence()?;
    forge(&scene.net.router, &ForgedSegment { flags: RST | ACK, acknowledges, window: 502, ..rst })?;
    client.read_fails(ECONNRESET)?;
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
    client.read_fails(ECONNRESET)?;
    untouched(scene, &server)
}

fn idle_connection(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let idle_start = std::time::Instant::now();
    idle(1500);
    scene.idle_since(idle_start);
    inject(scene, &client, server.next_sequence()?, UNDECREMENTED)?;
    client.read_fails(ECONNRESET)?;
    untouched(scene, &server)
}

/// One bare RST from the router to the client, in the server's name.
pub(super) fn inject(scene: &Scene, client: &Tcp, sequence: u32, ttl: u8) -> Result<()> {
    forge(&scene.net.router, &ForgedSegment::rst(scene.server(), client.local()?, sequence, ttl))
}
