//! TLS 1.3 connections in a client's pool, which does not read while they are idle: session tickets and the server's close_notify lie
//! unread.

use std::path::Path;

use anyhow::Result;
use dev_support::programs;

use crate::network::host::{Host, at};
use crate::network::http::{NGINX_ANSWERS, nginx_on};
use crate::network::ns::run;
use crate::network::procnet::State;
use crate::network::program::{Folder, Program};
use crate::rows::Scene;
use crate::rows::idle::REAPED_BY_SERVER;
use crate::rows::table::{APP, BASE, C, Row, S, Want, sent};
use crate::wait::SOON;

/// Connects and waits for the server's FIN without reading, then closes. With `ask` it first sends a request and reads the
/// response; with `reuse` it sends a request before it closes.
const CLIENT: &str = "
import select, socket, ssl, sys, time
address, port, asks, reuses = sys.argv[1], int(sys.argv[2]), 'ask' in sys.argv, 'reuse' in sys.argv
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1_3
pooled = context.wrap_socket(socket.create_connection((address, port)))
request = b'GET / HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n'
if asks:
    pooled.sendall(request)
    answer = b''
    while not answer.endswith(b'lab\\n'):
        answer += pooled.recv(4096)
poll = select.poll()
poll.register(pooled, select.POLLRDHUP)
poll.poll(8000)
time.sleep(0.3)
if reuses:
    pooled.sendall(request)
    time.sleep(0.3)
pooled.close()
";

/// No event at the server: the RST silently ends a TIME_WAIT mini-socket.
const CLOSED_UNREAD: &[Want] = &[sent(C, "unread_data", APP).sure()];

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_ABORT_ON_CLOSE in CLOSE_WAIT, 24 bytes unread.
        id: "tls-pool",
        what: "client closes a pooled TLS 1.3 connection with nginx's close_notify unread",
        needs: &["nginx", "openssl", "python3"],
        make: |scene| pooled(scene, &["ask"]),
        rsts: &[(C, 1)],
        wants: CLOSED_UNREAD,
        ..BASE
    },
    Row {
        // TCP_ABORT_ON_CLOSE in CLOSE_WAIT, 566 bytes unread.
        id: "tls-warm",
        what: "client closes a TLS 1.3 connection that it never used, with nginx's session tickets unread",
        needs: &["nginx", "openssl", "python3"],
        make: |scene| pooled(scene, &[]),
        rsts: &[(C, 1)],
        wants: CLOSED_UNREAD,
        ..BASE
    },
    Row {
        // TCP_TIMEWAIT_SOCKET, after a FIN that came with a closing message.
        id: "tls-reuse",
        what: "client reuses a pooled TLS 1.3 connection with nginx's close_notify unread",
        needs: &["nginx", "openssl", "python3"],
        make: |scene| pooled(scene, &["ask", "reuse"]),
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
];

fn pooled(scene: &Scene, does: &[&str]) -> Result<()> {
    let folder = Folder::make(scene.net)?;
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    make_certificate(&key, &certificate)?;
    let tls = format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3; keepalive_timeout 4s; \
         client_header_timeout 1s; {NGINX_ANSWERS}",
        certificate.display(),
        key.display()
    );
    let _server = nginx_on(scene.net, scene.port, "ssl", &tls)?;
    let script = folder.write("client.py", CLIENT)?;
    let server = at(scene.family.server(), scene.port);
    let mut python = programs::start("python3")?;
    python.arg(script).arg(server.ip().to_string()).arg(server.port().to_string()).args(does);
    let _client = Program::start(scene.net, Host::Client, folder, python)?;
    scene.reaches(Host::Client, State::ESTABLISHED, SOON)?;
    scene.becomes("the client's end", Host::Client, 3 * SOON, <[State]>::is_empty)
}

fn make_certificate(key: &Path, certificate: &Path) -> Result<()> {
    let mut openssl = programs::start("openssl")?;
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"]);
    openssl.args(["-subj", "/CN=lab", "-days", "1", "-keyout"]).arg(key).arg("-out").arg(certificate);
    run(&mut openssl).map(drop)
}
