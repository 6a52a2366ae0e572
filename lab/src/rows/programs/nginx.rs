//! nginx answers before it has read the whole request.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use libc::{ECONNRESET, EPIPE};

use crate::network::host::Host;
use crate::network::http::{NGINX_ANSWERS, ask, nginx_with, send_request};
use crate::network::procnet::State;
use crate::rows::Scene;
use crate::rows::table::{
    A_FIN, APP, BASE, BOTH, C, EITHER_FIRST, KERNEL, LIVE_SOCKET, PEER, Row, S, Want, received, sent,
};
use crate::rows::wire::SlowHop;
use crate::wait::SOON;

/// More than nginx reads at once (client_header_buffer_size, 1 KiB), so that the rest of the body is unread when it closes.
const BODY: usize = 60_000;
/// nginx closes after one second of its own clock, which counts whole seconds.
const LINGERING: Duration = Duration::from_secs(6);
const DELAY: Duration = Duration::from_millis(150);

/// The rest of the body may reach the stack after the abort.
const UNREAD_BODY: &[Want] = &[
    sent(S, "unread_data", APP).sure(),
    sent(S, "unread_data", KERNEL).any().no_socket(),
    received(C, "unread_data", PEER).why(EITHER_FIRST),
];
const ABORTED: &[Want] = &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)];

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_ABORT_ON_CLOSE in ESTABLISHED. nginx discards the body until lingering_time, with lingering_close off too
        // (ngx_http_discarded_request_body_handler), and then closes when more of it has come.
        id: "nginx-413",
        what: "nginx answers an upload with 413, and closes after lingering_time while the upload goes on",
        families: BOTH,
        needs: &["nginx"],
        make: too_large,
        rsts: &[(S, 1)],
        more: true,
        wants: UNREAD_BODY,
        ..BASE
    },
    Row {
        // TCP_ABORT_ON_CLOSE in ESTABLISHED, then TCP_FLAGS on the listener for late segments.
        id: "nginx-444",
        what: "nginx closes without an answer (return 444) and with the body unread",
        families: BOTH,
        needs: &["nginx"],
        make: |scene| upload(scene, "return 444;"),
        rsts: &[(S, 1)],
        more: true,
        wants: UNREAD_BODY,
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0: reset_timedout_connection covers 444 as well.
        id: "nginx-444-reset",
        what: "nginx closes without an answer (return 444) and with reset_timedout_connection",
        families: BOTH,
        needs: &["nginx"],
        make: refused,
        rsts: &[(S, 1)],
        wants: ABORTED,
        ..BASE
    },
    Row {
        // TCP_ABORT_ON_DATA in FIN_WAIT1 or FIN_WAIT2; the client's ACK of the FIN may draw another RST.
        id: "nginx-race",
        what: "client sends a request while the FIN of nginx, which closed the idle connection, is on its way",
        needs: &["nginx"],
        make: race,
        rsts: &[(S, 1)],
        more: true,
        wants: &[
            sent(S, "idle_reaped", KERNEL),
            sent(S, "idle_reaped", KERNEL).any().no_socket(),
            received(C, "idle_reaped", PEER).why(A_FIN),
        ],
        ..BASE
    },
];

/// A request with a body of this many bytes, of which the first come with the header.
pub(super) fn request(body: usize, first: usize) -> Vec<u8> {
    let mut request = format!("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    request.resize(request.len() + first, b'x');
    request
}

/// The client never reads the answer, as programs that send before they read.
fn upload(scene: &Scene, directives: &str) -> Result<()> {
    let _server = nginx_with(scene.net, scene.port, directives)?;
    let client = scene.connect()?;
    scene.busy();
    client.send(&request(10 * BODY, BODY))?;
    client.error_is(ECONNRESET)
}

fn too_large(scene: &Scene) -> Result<()> {
    let limits = "lingering_time 1s; lingering_close off; client_max_body_size 1k; location / { return 200; }";
    let _server = nginx_with(scene.net, scene.port, limits)?;
    let client = scene.connect()?;
    client.send(&request(1_000 * BODY, 0))?;
    scene.streams();
    let cut = client.pour(&[b'x'; 2_000], Duration::from_millis(5), LINGERING);
    ensure!(cut, "nginx read on");
    Ok(())
}

fn refused(scene: &Scene) -> Result<()> {
    let _server = nginx_with(scene.net, scene.port, "reset_timedout_connection on; return 444;")?;
    let client = scene.connect()?;
    scene.busy();
    send_request(&client)?;
    client.error_is(ECONNRESET)
}

fn race(scene: &Scene) -> Result<()> {
    let _server = nginx_with(scene.net, scene.port, &format!("keepalive_timeout 1300ms; {NGINX_ANSWERS}"))?;
    let _hop = SlowHop::start(scene, DELAY)?;
    let client = scene.connect()?;
    scene.timed(|| ask(&client))?;
    let idle_start = std::time::Instant::now();
    scene.reaches(Host::Server, State::FIN_WAIT1, 2 * SOON)?;
    scene.idle_was(Host::Client, idle_start.elapsed());
    scene.idle_was(Host::Server, idle_start.elapsed() + 2 * DELAY);
    send_request(&client)?;
    client.error_is(EPIPE)?;
    // All packets have left the slow hop.
    sleep(3 * DELAY);
    Ok(())
}
