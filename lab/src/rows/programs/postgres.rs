//! PostgreSQL: a backend process for each connection, which ends for an idle session, on request, or by a signal.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dev_support::programs;
use libc::EPIPE;
use rustix::process::{Pid, Signal, kill_process};

use super::end;
use crate::network::host::Host;
use crate::network::ns::run;
use crate::network::procnet::State;
use crate::network::program::{Folder, Program};
use crate::network::sock::Tcp;
use crate::rows::table::{A_FIN, BASE, C, KERNEL, PEER, Row, S, received, sent};
use crate::rows::{Scene, idle};
use crate::wait::SOON;

const REAPED: Duration = Duration::from_secs(8);
const PAUSE: u64 = 300;
const PROTOCOL: u32 = 3 << 16;
const USER: &[u8] = b"user\0postgres\0database\0postgres\0\0";
/// The message ReadyForQuery, outside a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";
/// The message BackendKeyData up to its length; the process id follows.
const BACKEND: &[u8] = b"K\0\0\0\x0c";
const SAMPLED_LATE: &str = "a backend takes a while from its closing message to its exit: a sample in between shows the message, and not the silence before it";
/// PostgreSQL refuses to run as root.
const NOBODY: &str = "65534";
/// Keeps access to the lab's files without being root.
const ACCESS: &str = "+dac_override";

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_TIMEWAIT_SOCKET, after a FIN that came with a closing message. The backend exits with status 1.
        id: "postgres-idle",
        what: "PostgreSQL ends an idle session (idle_session_timeout), then the client sends a query",
        needs: &["postgres", "initdb", "setpriv"],
        make: idle_session,
        rsts: &[(S, 1)],
        wants: &[
            sent(S, "idle_reaped", KERNEL).no_socket().why(SAMPLED_LATE),
            received(C, "idle_reaped", PEER).why(A_FIN),
        ],
        ..BASE
    },
    Row {
        // TCP_TIMEWAIT_SOCKET, after a FIN that came with a closing message. The backend serves this connection alone, and its
        // exit with status 1 is its close.
        id: "postgres-terminate",
        what: "another session calls pg_terminate_backend, then the client sends a query",
        needs: &["postgres", "initdb", "setpriv"],
        make: terminated,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL).no_socket(), received(C, "data_after_close", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        // TCP_TIMEWAIT_SOCKET, after the FIN of a process with exit code SIGKILL.
        id: "postgres-kill",
        what: "a PostgreSQL backend is killed (SIGKILL), then the client sends a query",
        needs: &["postgres", "initdb", "setpriv"],
        make: killed,
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", KERNEL).sure().no_socket(), received(C, "process_died", PEER).why(A_FIN)],
        ..BASE
    },
];

fn postgres(scene: &Scene, settings: &[&str]) -> Result<Program> {
    let folder = Folder::make(scene.net)?;
    std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534))?;
    let data = folder.path().join("data");
    let mut initdb = programs::start("initdb")?;
    initdb.args(["-A", "trust", "-U", "postgres", "--no-sync", "--no-locale", "-D"]).arg(&data);
    run(&mut as_nobody(&initdb))?;
    let mut allow = std::fs::OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
    writeln!(allow, "host all all all trust")?;
    let mut server = programs::start("postgres")?;
    server.args(["-h", "*", "-p", &scene.port.to_string(), "-F", "-k"]).arg(folder.path()).arg("-D").arg(&data);
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    // An immediate shutdown, which removes its shared memory.
    let server = Program::serve(scene.net, Host::Server, scene.port, folder, as_nobody(&server))?;
    let mut server = server.ends_by(Signal::QUIT);
    server.says("ready to accept connections")?;
    Ok(server)
}

fn as_nobody(command: &Command) -> Command {
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    nobody.args(["--inh-caps", ACCESS, "--ambient-caps", ACCESS]).current_dir("/");
    programs::through(nobody, command)
}

/// A session, and its backend's process id.
fn session(scene: &Scene) -> Result<(Tcp, Pid)> {
    let client = scene.connect()?;
    let length = u32::try_from(8 + USER.len())?;
    client.send(&[&length.to_be_bytes(), &PROTOCOL.to_be_bytes(), USER].concat())?;
    let said = client.receive_until(READY)?;
    let at = said.windows(BACKEND.len()).position(|bytes| bytes == BACKEND).context("no BackendKeyData")?;
    let pid = said.get(at + BACKEND.len()..).and_then(|rest| rest.first_chunk()).context("no process id")?;
    let pid = Pid::from_raw(i32::from_be_bytes(*pid)).context("process id 0")?;
    Ok((client, pid))
}

fn query(text: &str) -> Result<Vec<u8>> {
    let length = u32::try_from(text.len() + 5)?;
    Ok([b"Q", &length.to_be_bytes()[..], text.as_bytes(), b"\0"].concat())
}

fn ask(client: &Tcp, text: &str) -> Result<()> {
    client.send(&query(text)?)?;
    client.receive_until(READY).map(drop)
}

fn idle_session(scene: &Scene) -> Result<()> {
    let _server = postgres(scene, &["idle_session_timeout=4000"])?;
    let (client, _) = session(scene)?;
    scene.timed(|| ask(&client, "select 1"))?;
    let idle_start = Instant::now();
    scene.reaches(Host::Client, State::CLOSE_WAIT, REAPED)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    scene.idle_since(idle_start);
    client.send(&query("select 2")?)?;
    client.error_is(EPIPE)
}

fn terminated(scene: &Scene) -> Result<()> {
    let server = postgres(scene, &[])?;
    let (admin, _) = session(scene)?;
    let (client, pid) = session(scene)?;
    scene.busy();
    ask(&client, "select 1")?;
    ask(&admin, &format!("select pg_terminate_backend({})", pid.as_raw_nonzero()))?;
    write_after_fin(scene, &client)?;
    end(scene, server)
}

/// The server closes all its connections and restarts when a backend crashes.
fn killed(scene: &Scene) -> Result<()> {
    let _server = postgres(scene, &[])?;
    let (client, pid) = session(scene)?;
    scene.busy();
    ask(&client, "select 1")?;
    kill_process(pid, Signal::KILL)?;
    write_after_fin(scene, &client)
}

fn write_after_fin(scene: &Scene, client: &Tcp) -> Result<()> {
    scene.reaches(Host::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.send(&query("select 2")?)?;
    client.error_is(EPIPE)
}
