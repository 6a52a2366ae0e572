//! An inline device that resets both ends in each other's name, with the peer's own TTL and the exact numbers.

use anyhow::Result;
use libc::ECONNRESET;

use crate::network::packet::{ACK, ForgedSegment, RST};
use crate::network::sock::forge;
use crate::rows::Scene;
use crate::rows::table::{BASE, BOTH, C, Row, S, Want, imitated};

/// The TTL of either end's own packets, one router away.
const EQUAL: u8 = 63;
/// As of a live socket.
const WINDOW: u16 = 502;

const INJECTED: &[Want] = &[imitated(C), imitated(S)];

/// The kernel sends nothing.
pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "9-both",
        what: "inline device resets both ends of a busy connection with bare RSTs, with the peer's TTL and exact numbers",
        families: BOTH,
        make: |scene| reset_both(scene, RST, 0),
        wants: INJECTED,
        ..BASE
    },
    Row {
        id: "9-both-ack",
        what: "inline device resets both ends of a busy connection with RST+ACK, with the peer's TTL and exact numbers",
        make: |scene| reset_both(scene, RST | ACK, WINDOW),
        wants: INJECTED,
        ..BASE
    },
];

fn reset_both(scene: &Scene, flags: u8, window: u16) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let (near, far) = (client.local()?, scene.server());
    let (asked, answered) = (client.next_sequence()?, server.next_sequence()?);
    let rst = |from, to, sequence, acknowledges| ForgedSegment {
        flags,
        window,
        acknowledges: if flags & ACK == 0 { 0 } else { acknowledges },
        ..ForgedSegment::rst(from, to, sequence, EQUAL)
    };
    forge(&scene.net.router, &rst(far, near, answered, asked))?;
    forge(&scene.net.router, &rst(near, far, asked, answered))?;
    client.read_fails(ECONNRESET)?;
    server.read_fails(ECONNRESET)
}
