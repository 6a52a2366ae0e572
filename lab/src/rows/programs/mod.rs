//! Rows that run real programs with their own behaviour. The comment of each row says what the kernel reports for its
//! reset, as `rstwatch trace --json` shows it on Linux 6.18.

use anyhow::Result;

use crate::network::host::Host;
use crate::network::procnet::State;
use crate::network::program::Program;
use crate::rows::Scene;
use crate::wait::SOON;

pub(crate) mod checks;
pub(crate) mod gunicorn;
pub(crate) mod haproxy;
pub(crate) mod inline;
pub(crate) mod mariadb;
pub(crate) mod nginx;
pub(crate) mod load;
pub(crate) mod nginx_timeouts;
pub(crate) mod node;
pub(crate) mod oom;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod sshd;
pub(crate) mod tls;

/// Ends a server that still has connections, and waits until their clients have acknowledged its FINs. Otherwise it would
/// retransmit them to clients that have vanished, and draw resets.
fn end(scene: &Scene, server: Program) -> Result<()> {
    drop(server);
    let over = |states: &[State]| states.iter().all(|state| [State::FIN_WAIT2, State::TIME_WAIT].contains(state));
    scene.becomes("the server's end", Host::Server, SOON, over)
}
