//! Resets during a transfer in either direction. The connection is never idle.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::{HELLO, Scene, idle};
use crate::network::packet::ForgedSegment;
use crate::network::sock::{Tcp, forge};
use crate::rows::table::{A_FIN, APP, BASE, BOTH, C, KERNEL, LIVE_SOCKET, MIDDLEBOX, PEER, Row, S, received, sent};

/// Small enough for one packet each, so that the lab sets the pace.
const CHUNK: [u8; 512] = [b'x'; 512];
const PAUSE: Duration = Duration::from_millis(5);
/// The transfer must have ended by then.
const LIMIT: Duration = Duration::from_secs(6);
/// Duration of a transfer: longer than a second, so that the other direction's silence could be mistaken for an idle gap.
const FLOWS: u64 = 1300;
const FORGED_TTL: u8 = 200;

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "upload-abort",
        what: "upload: the server closes midway with data unread (an early 413)",
        families: BOTH,
        make: upload_refused,
        rsts: &[(S, 1)],
        more: true,
        wants: &[
            sent(S, "unread_data", APP).sure(),
            sent(S, "unread_data", KERNEL).any().no_socket(),
            received(C, "unread_data", PEER).why(LIVE_SOCKET),
        ],
        ..BASE
    },
    Row {
        id: "upload-forged",
        what: "upload: a device injects an RST midway",
        make: upload_forged,
        rsts: &[],
        wants: &[received(C, "middlebox_injected", MIDDLEBOX)],
        ..BASE
    },
    Row {
        id: "download-abort",
        what: "download: the server aborts midway",
        families: BOTH,
        make: download_aborted,
        rsts: &[(S, 1)],
        more: true,
        wants: &[
            sent(S, "linger_abort", APP).sure(),
            sent(S, "linger_abort", KERNEL).any().no_socket(),
            received(C, "linger_abort", PEER).why(LIVE_SOCKET),
        ],
        ..BASE
    },
    Row {
        id: "download-cancel",
        what: "download: the client closes midway with data unread",
        families: BOTH,
        make: download_cancelled,
        rsts: &[(C, 1)],
        more: true,
        wants: &[
            sent(C, "unread_data", APP).sure(),
            sent(C, "unread_data", KERNEL).any().no_socket(),
            received(S, "unread_data", PEER).why(LIVE_SOCKET),
        ],
        ..BASE
    },
    Row {
        id: "download-close",
        what: "download: the client closes midway with nothing unread",
        make: download_hung_up,
        rsts: &[(C, 1)],
        wants: &[sent(C, "data_after_close", KERNEL).no_socket(), received(S, "data_after_close", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        id: "trickle",
        what: "server sends a byte every 400 ms, then aborts",
        families: BOTH,
        make: trickle,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

fn upload_refused(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.streams();
    let cut = upload(&client, || {
        idle(FLOWS);
        server.send(HELLO)?;
        server.close();
        Ok(())
    })?;
    ensure!(cut, "the upload was not cut");
    Ok(())
}

fn upload_forged(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.streams();
    let cut = upload(&client, || {
        idle(FLOWS);
        // The server sends nothing during an upload, so its next sequence number does not change.
        let rst = ForgedSegment::rst(scene.server(), client.local()?, server.next_sequence()?, FORGED_TTL);
        forge(&scene.net.router, &rst)?;
        Ok(())
    })?;
    ensure!(cut, "the upload was not cut");
    Ok(())
}

fn upload(client: &Tcp, end: impl FnOnce() -> Result<()>) -> Result<bool> {
    thread::scope(|scope| {
        let flow = scope.spawn(|| client.pour(&CHUNK, PAUSE, LIMIT));
        end()?;
        flow.join().map_err(|_| anyhow!("the upload panicked"))
    })
}

fn download_aborted(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.streams();
    thread::scope(|scope| {
        let flow = scope.spawn(|| client.drain());
        server.pour(&CHUNK, PAUSE, Duration::from_millis(FLOWS));
        server.abort()?;
        let end = flow.join().map_err(|_| anyhow!("the download panicked"))?;
        crate::network::sock::expect(libc::ECONNRESET, end)
    })
}

fn download_cancelled(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.streams();
    let cut = upload(&server, || {
        idle(FLOWS);
        client.close();
        Ok(())
    })?;
    ensure!(cut, "the download was not cut");
    Ok(())
}

/// Sends and reads chunk by chunk, so that nothing is ever unread.
fn download_hung_up(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.streams();
    for _ in 0..FLOWS / 10 {
        server.send(&CHUNK)?;
        client.receive(CHUNK.len())?;
        idle(10);
    }
    client.close();
    server.send(&CHUNK)?;
    server.error_is(libc::EPIPE)
}

fn trickle(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.streams();
    for _ in 0..7 {
        idle(400);
        server.send(b"x")?;
        client.receive(1)?;
    }
    idle(100);
    server.abort()?;
    client.read_fails(libc::ECONNRESET)
}
