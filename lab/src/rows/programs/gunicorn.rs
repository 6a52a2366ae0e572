//! gunicorn kills a worker that does not respond (timeout).

use std::time::Duration;

use anyhow::Result;
use dev_support::programs;
use libc::ECONNRESET;
use rustix::process::Signal;

use super::end;
use super::nginx::request;
use crate::network::host::Host;
use crate::network::http::send_request;
use crate::network::procnet::State;
use crate::network::program::{Folder, Program};
use crate::rows::Scene;
use crate::rows::table::{APP, BASE, C, LIVE_SOCKET, PEER, Row, S, received, sent};

/// gunicorn looks once a second, sends SIGABRT, and SIGKILL when the worker is still there.
const KILLED: Duration = Duration::from_secs(8);
/// More than gunicorn reads with the header.
const BODY: usize = 60_000;

/// Blocks SIGABRT, as code in a C extension does that does not return to Python.
const HANGS: &str = "import signal, time\ndef app(environ, start):\n    \
                     signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])\n    time.sleep(60)\n";
/// Python's handler of SIGABRT ends the worker.
const SLOW: &str = "import time\ndef app(environ, start):\n    print('asked', flush=True)\n    time.sleep(60)\n";

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_ABORT_ON_CLOSE in ESTABLISHED, by a process with exit code SIGKILL.
        id: "gunicorn-timeout",
        what: "gunicorn kills a worker that hangs (timeout, SIGKILL) with the request's body unread",
        needs: &["gunicorn", "python3"],
        make: |scene| timeout(scene, HANGS),
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", APP).sure(), received(C, "process_died", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        // TCP_ABORT_ON_CLOSE in ESTABLISHED: the worker's handler of SIGABRT closes the connection before the worker exits.
        id: "gunicorn-abort",
        what: "gunicorn ends a slow worker (timeout, SIGABRT) with the request's body unread",
        needs: &["gunicorn", "python3"],
        make: |scene| timeout(scene, SLOW),
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, of a socket without an owner.
        id: "gunicorn-stop",
        what: "gunicorn stops (SIGTERM) while a connection waits for its only worker",
        needs: &["gunicorn", "python3"],
        make: stop,
        rsts: &[(S, 1)],
        wants: &[sent(S, "listener_closed", APP), received(C, "listener_closed", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

fn timeout(scene: &Scene, app: &str) -> Result<()> {
    let _server = gunicorn(scene, app, &["--timeout", "1"])?;
    let client = scene.connect()?;
    client.send(&request(BODY, BODY))?;
    scene.becomes("the reset", Host::Client, KILLED, |states| !states.contains(&State::ESTABLISHED))?;
    client.error_is(ECONNRESET)
}

/// gunicorn waits a second for the worker, which is in the middle of a request.
fn stop(scene: &Scene) -> Result<()> {
    let mut server = gunicorn(scene, SLOW, &["--graceful-timeout", "1"])?;
    let served = scene.connect()?;
    send_request(&served)?;
    server.says("asked")?;
    let waiting = scene.connect()?;
    send_request(&waiting)?;
    server.signal(Signal::TERM)?;
    waiting.error_is(ECONNRESET)?;
    end(scene, server)
}

fn gunicorn(scene: &Scene, app: &str, options: &[&str]) -> Result<Program> {
    let folder = Folder::make(scene.net)?;
    folder.write("lab.py", app)?;
    let mut gunicorn = programs::start("gunicorn")?;
    gunicorn.args(["--bind", &format!("[::]:{}", scene.port), "--chdir"]).arg(folder.path());
    gunicorn.arg("--worker-tmp-dir").arg(folder.path()).args(options).arg("lab:app");
    // Its first line names an interpreter that may be missing.
    let gunicorn = programs::through(programs::start("python3")?, &gunicorn);
    Program::serve(scene.net, Host::Server, scene.port, folder, gunicorn)
}
