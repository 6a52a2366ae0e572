//! redis and memcached: idle timeouts, and a subscriber that does not read.

use std::time::{Duration, Instant};

use anyhow::Result;
use dev_support::programs;
use libc::{ECONNRESET, EPIPE};

use super::end;
use crate::network::host::Host;
use crate::network::procnet::{State, states};
use crate::network::program::{Folder, Program};
use crate::network::sock::Tcp;
use crate::rows::idle::REAPED_BY_SERVER;
use crate::rows::table::{BARE, BASE, BOTH, C, KERNEL, PEER, Row, S, received, sent};
use crate::rows::{Scene, idle};
use crate::wait::SOON;

const PING: &[u8] = b"PING\r\n";
const VERSION: &[u8] = b"version\r\n";
const LINE: &[u8] = b"\r\n";
/// Longer than redis and memcached take to find a connection that was idle for a second.
const REAPED: Duration = Duration::from_secs(6);
const PAUSE: u64 = 300;
const MESSAGE: usize = 200_000;
/// Messages, of which a few fill the buffers and the limit.
const MOST: usize = 100;
const SMALL_BUFFER: usize = 8_192;

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_TIMEWAIT_SOCKET, after a FIN.
        id: "redis-timeout",
        what: "redis closes the idle connection (timeout 1), then the client reuses it",
        families: BOTH,
        needs: &["redis-server"],
        make: redis_timeout,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
    Row {
        // TCP_ABORT_ON_DATA in FIN_WAIT1.
        id: "redis-output-limit",
        what: "redis closes on a subscriber that does not read (client-output-buffer-limit); the subscriber then sends PING",
        needs: &["redis-server"],
        make: output_limit,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL), received(C, "data_after_close", PEER).why(BARE)],
        ..BASE
    },
    Row {
        // TCP_TIMEWAIT_SOCKET, after a FIN.
        id: "memcached-timeout",
        what: "memcached closes the idle connection (idle_timeout), then the client reuses it",
        needs: &["memcached"],
        make: memcached_timeout,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
];

fn redis(scene: &Scene, options: &[&str]) -> Result<Program> {
    let folder = Folder::make(scene.net)?;
    let mut redis = programs::start("redis-server")?;
    redis.args(["--port", &scene.port.to_string(), "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", ""]);
    redis.arg("--dir").arg(folder.path()).args(options);
    Program::serve(scene.net, Host::Server, scene.port, folder, redis)
}

fn redis_timeout(scene: &Scene) -> Result<()> {
    let _server = redis(scene, &["--timeout", "1"])?;
    reaped(scene, PING)
}

fn memcached_timeout(scene: &Scene) -> Result<()> {
    let folder = Folder::make(scene.net)?;
    let mut memcached = programs::start("memcached")?;
    memcached.args(["-u", "root", "-U", "0", "-t", "1", "-o", "idle_timeout=1", "-p", &scene.port.to_string()]);
    let _server = Program::serve(scene.net, Host::Server, scene.port, folder, memcached)?;
    reaped(scene, VERSION)
}

/// The server closes after an idle period, then the client sends the next request.
fn reaped(scene: &Scene, request: &[u8]) -> Result<()> {
    let client = scene.connect()?;
    scene.timed(|| {
        client.send(request)?;
        client.receive_until(LINE).map(drop)
    })?;
    let idle_start = Instant::now();
    scene.reaches(Host::Client, State::CLOSE_WAIT, REAPED)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    scene.idle_since(idle_start);
    client.send(request)?;
    client.error_is(EPIPE)
}

/// The client's window is closed, so the server's FIN waits behind its data, and the PING meets an orphan.
fn output_limit(scene: &Scene) -> Result<()> {
    let server = redis(scene, &["--client-output-buffer-limit", "pubsub 1mb 0 0"])?;
    let subscriber = Tcp::new(&scene.net.client, scene.server())?;
    subscriber.options().set_recv_buffer_size(SMALL_BUFFER)?;
    subscriber.join(scene.server())?;
    subscriber.send(b"SUBSCRIBE lab\r\n")?;
    subscriber.receive_until(b":1\r\n")?;
    scene.streams();
    let publisher = scene.connect()?;
    let mut message = format!("*3\r\n$7\r\nPUBLISH\r\n$3\r\nlab\r\n${MESSAGE}\r\n").into_bytes();
    message.resize(message.len() + MESSAGE, b'x');
    message.extend(LINE);
    for _ in 0..MOST {
        publisher.send(&message)?;
        publisher.receive_until(LINE)?;
        if states(&scene.net.server, scene.port)?.contains(&State::FIN_WAIT1) {
            break;
        }
    }
    scene.reaches(Host::Server, State::FIN_WAIT1, SOON)?;
    subscriber.send(PING)?;
    subscriber.error_is(ECONNRESET)?;
    end(scene, server)
}
