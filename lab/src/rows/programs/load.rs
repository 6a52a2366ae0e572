//! Early responses while all CPUs are busy: the RST that answers a late segment is then often recorded before the abort that
//! explains it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use rustix::process::setpriority_process;

use super::nginx::request;
use crate::kernel;
use crate::network::ns::Ns;
use crate::network::sock::{Listener, Tcp};
use crate::rows::Scene;
use crate::rows::table::{APP, BASE, C, EITHER_FIRST, KERNEL, PEER, Row, S, received, sent};
use crate::wait::SOON;

const UPLOADS: usize = 500;
const CLIENTS: usize = 4;
/// The whole upload is never sent.
const BODY: usize = 60_000_000;
const CHUNK: usize = 20_000;
/// What the server reads before it answers: less than the first segment.
const READ: usize = 64;
const ANSWER: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n";
/// Nice value of the threads that keep the CPUs busy: they get only the time that nothing else uses.
const LOWEST: i32 = 19;

pub(crate) const ROWS: &[Row] = &[Row {
    // TCP_ABORT_ON_CLOSE in ESTABLISHED, then TCP_FLAGS on the listener for late segments.
    id: "3-load",
    what: "server answers 500 uploads early and closes with data unread, while all CPUs are busy",
    unless: emulated,
    make: uploads,
    rsts: &[(S, 500)],
    more: true,
    wants: &[
        sent(S, "unread_data", APP).sure().some(),
        sent(S, "unread_data", KERNEL).any().no_socket(),
        received(C, "unread_data", PEER).why(EITHER_FIRST).some(),
        // The response may arrive after the RST; the client's stack then answers it with an RST.
        sent(C, "unread_data", KERNEL)
            .any()
            .no_socket()
            .why("a late segment has the cause of the RST before it, which one end alone knows as a family"),
    ],
    ..BASE
}];

fn emulated(_scene: &Scene) -> Option<String> {
    kernel::is_ours()
        .then(|| "an emulated machine under load takes longer between two records than they are held".to_owned())
}

fn uploads(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    scene.streams();
    let over = AtomicBool::new(false);
    let (ns, server) = (&scene.net.client, scene.server());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| burn(&over));
        }
        let serves = scope.spawn(|| (0..UPLOADS).try_for_each(|_| answer_early(&listener)));
        let each = || (0..UPLOADS / CLIENTS).try_for_each(|_| upload(ns, server));
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(each)).collect();
        let mut ends = clients.into_iter().chain([serves]);
        let made = ends.try_for_each(|end| end.join().map_err(|_| anyhow!("an end panicked"))?);
        over.store(true, Ordering::Relaxed);
        made
    })
}

fn burn(over: &AtomicBool) {
    // On Linux this applies to the calling thread only. If it fails, the row takes longer.
    let _ = setpriority_process(None, LOWEST);
    while !over.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

fn answer_early(listener: &Listener) -> Result<()> {
    let server = listener.accept()?;
    server.receive(READ)?;
    server.send(ANSWER)?;
    server.close();
    Ok(())
}

/// Sends until the reset, like a client that reads no response before it has sent everything.
fn upload(ns: &Ns, server: SocketAddr) -> Result<()> {
    let client = Tcp::connect(ns, server)?;
    client.send(&request(BODY, CHUNK))?;
    ensure!(client.pour(&[b'x'; CHUNK], Duration::ZERO, SOON), "the server read on");
    Ok(())
}
