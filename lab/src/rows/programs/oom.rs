//! The OOM killer ends a server in a memory cgroup, as it does with a container over its limit.

use anyhow::{Context, Result};
use libc::ECONNRESET;

use crate::network::cgroup::Cgroup;
use crate::network::peer::Peer;
use crate::rows::table::{APP, BASE, C, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::rows::{HELLO, Scene};

const CGROUP: &str = "rstwatch-lab-oom";
/// In bytes.
const LIMIT: &str = "67108864";

pub(crate) const ROWS: &[Row] = &[Row {
    // TCP_ABORT_ON_CLOSE in ESTABLISHED, by a process with exit code SIGKILL.
    id: "4-oom",
    what: "the OOM killer ends a server that exceeds its cgroup's memory limit, with a request unread",
    unless: no_limit,
    make: killed,
    rsts: &[(S, 1)],
    wants: &[sent(S, "process_died", APP).sure(), received(C, "process_died", PEER).why(LIVE_SOCKET)],
    ..BASE
}];

fn no_limit(scene: &Scene) -> Option<String> {
    let cgroup = limited(scene).ok().flatten();
    cgroup.is_none().then(|| "no cgroup with a memory limit can be made here".to_owned())
}

fn limited(scene: &Scene) -> Result<Option<Cgroup>> {
    Cgroup::with_memory(&scene.net.cleanup, CGROUP, LIMIT)
}

fn killed(scene: &Scene) -> Result<()> {
    let net = scene.net;
    let cgroup = limited(scene)?.context("no cgroup")?;
    let mut peer = Peer::start_in(&net.server, &net.cleanup, "hog", scene.server(), 1, cgroup.path())?;
    let client = scene.connect()?;
    client.send(HELLO)?;
    peer.expect_line("unread")?;
    peer.order_to_take_memory()?;
    client.error_is(ECONNRESET)
}
