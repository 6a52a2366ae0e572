//! sshd refuses connections beyond MaxStartups: it writes a line, and closes.

use std::process::Command;

use anyhow::{Context, Result};
use dev_support::programs;
use libc::{ECONNRESET, EPIPE};
use rustix::process::Signal;

use super::end;
use crate::network::host::Host;
use crate::network::ns::run;
use crate::network::procnet::State;
use crate::network::program::{Folder, Program};
use crate::network::sock::Tcp;
use crate::rows::Scene;
use crate::rows::table::{A_FIN, APP, BASE, C, KERNEL, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::wait::SOON;

const BANNER: &[u8] = b"SSH-2.0-lab\r\n";
/// sshd drops its privileges to a user of this name, which need not exist on this machine, and wants this directory.
const PRIVATE: &str = "mount --bind passwd /etc/passwd && mount -t tmpfs none /run && mkdir /run/sshd && exec \"$@\"";
const USER: &str = "sshd:x:9876:65534::/run/sshd:/usr/sbin/nologin\n";

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_ABORT_ON_CLOSE in ESTABLISHED.
        id: "sshd-maxstartups",
        what: "sshd refuses a connection over MaxStartups; the client's banner lies unread",
        needs: &["sshd", "ssh-keygen", "unshare"],
        make: banner_unread,
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        // TCP_TIMEWAIT_SOCKET, after a FIN.
        id: "sshd-maxstartups-late",
        what: "sshd refuses a connection over MaxStartups; the client's banner comes after the close",
        needs: &["sshd", "ssh-keygen", "unshare"],
        make: banner_late,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL).no_socket(), received(C, "data_after_close", PEER).why(A_FIN)],
        ..BASE
    },
];

/// Runs sshd, and takes the only place for a connection that has not logged in.
fn full(scene: &Scene) -> Result<(Program, Tcp)> {
    let folder = Folder::make(scene.net)?;
    let key = folder.path().join("key");
    run(programs::start("ssh-keygen")?.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    let users = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    folder.write("passwd", &(users + USER))?;
    let config =
        format!("Port {}\nHostKey {}\nMaxStartups 1:100:1\nUsePAM no\nPidFile none\n", scene.port, key.display());
    let config = folder.write("config", &config)?;
    let mut sshd = programs::start("sshd")?;
    sshd.args(["-D", "-e", "-f"]).arg(config);
    let mut private = Command::new("unshare");
    private.args(["-m", "sh", "-c", PRIVATE, "sh"]).current_dir(folder.path());
    let private = programs::through(private, &sshd);
    let server = Program::serve(scene.net, Host::Server, scene.port, folder, private)?;
    let first = scene.connect()?;
    first.receive_until(b"\n")?;
    Ok((server, first))
}

/// sshd is stopped until the banner has arrived, as on a busy machine.
fn banner_unread(scene: &Scene) -> Result<()> {
    let (server, first) = full(scene)?;
    scene.busy();
    server.signal(Signal::STOP)?;
    let client = scene.connect()?;
    client.send(BANNER)?;
    scene.becomes("both connections", Host::Server, SOON, |states| count(states, State::ESTABLISHED) == 2)?;
    server.signal(Signal::CONT)?;
    client.error_is(ECONNRESET)?;
    first.close();
    end(scene, server)
}

fn banner_late(scene: &Scene) -> Result<()> {
    let (server, first) = full(scene)?;
    scene.busy();
    let client = scene.connect()?;
    scene.reaches(Host::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.send(BANNER)?;
    client.error_is(EPIPE)?;
    first.close();
    end(scene, server)
}

fn count(states: &[State], wanted: State) -> usize {
    states.iter().filter(|state| **state == wanted).count()
}
