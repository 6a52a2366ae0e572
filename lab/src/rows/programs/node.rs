//! Node's keep-alive timer fires while the next request lies in the socket's buffer.

use std::time::Instant;

use anyhow::Result;
use dev_support::programs;
use libc::ECONNRESET;

use super::end;
use crate::network::host::Host;
use crate::network::http::{ask, send_request};
use crate::network::procnet::State;
use crate::network::program::{Folder, Program};
use crate::rows::table::{APP, BASE, C, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::rows::{Scene, idle};
use crate::wait::SOON;

/// A request for `/slow` keeps the event loop busy until the keep-alive timer of another connection has expired. Newer versions
/// add one second to that timer.
const SERVER: &str = "
const server = require('http').createServer((request, response) => {
  const end = Date.now() + (request.url === '/slow' ? 2600 : 0);
  while (Date.now() < end);
  response.end('lab\\n');
});
server.keepAliveTimeout = 1000;
server.listen(Number(process.argv[2]), '::');
";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nHost: lab\r\n\r\n";

pub(crate) const ROWS: &[Row] = &[Row {
    // TCP_ABORT_ON_CLOSE in ESTABLISHED, with the request unread. The cause is the timer: no handler ever saw the request, and a
    // longer keepAliveTimeout mends it.
    id: "node-race",
    what: "Node's keep-alive timer closes an idle connection although the next request has arrived, unread",
    needs: &["node"],
    make: race,
    rsts: &[(S, 1)],
    wants: &[sent(S, "unread_data", APP), received(C, "unread_data", PEER).why(LIVE_SOCKET)],
    ..BASE
}];

fn race(scene: &Scene) -> Result<()> {
    let folder = Folder::make(scene.net)?;
    let script = folder.write("server.js", SERVER)?;
    let mut node = programs::start("node")?;
    node.arg(script).arg(scene.port.to_string());
    let server = Program::serve(scene.net, Host::Server, scene.port, folder, node)?;
    let (client, other) = (scene.connect()?, scene.connect()?);
    scene.timed(|| ask(&client))?;
    let idle_start = Instant::now();
    idle(700);
    other.send(SLOW)?;
    idle(800);
    scene.idle_since(idle_start);
    send_request(&client)?;
    let one_left = |states: &[State]| states.iter().filter(|state| **state == State::ESTABLISHED).count() == 1;
    scene.becomes("the reset", Host::Client, 2 * SOON, one_left)?;
    client.error_is(ECONNRESET)?;
    other.receive_until(b"lab\n")?;
    end(scene, server)
}
