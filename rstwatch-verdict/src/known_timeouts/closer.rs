//! The end of a connection that a timeout may have closed.

use super::{Ends, Place, Timeout};
use crate::cause::{Cause, Direction};
use crate::event::Role;

/// What closed an idle connection, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closer<'a> {
    /// A device on the path.
    Device,
    /// The program at one end.
    Program {
        /// Which end of the connection it was.
        role: Role,
        /// Its command name, if it runs on this host.
        comm: Option<&'a str>,
    },
}

impl<'a> Closer<'a> {
    /// What closed the connection of a reset with this cause; `None` if no timeout explains the cause.
    ///
    /// `role` and `comm` are those of this host's end.
    pub fn of(cause: Cause, direction: Direction, role: Role, comm: Option<&'a str>) -> Option<Self> {
        match (cause, direction) {
            (Cause::MiddleboxIdle, _) => Some(Self::Device),
            // The end that sent the RST had closed before.
            (Cause::IdleReaped, Direction::Sent) => Some(Self::Program { role, comm }),
            (Cause::IdleReaped, Direction::Received) => Some(Self::Program { role: opposite(role), comm: None }),
            _ => None,
        }
    }

    /// Whether it may have this timeout.
    pub fn may_have(self, timeout: &Timeout) -> bool {
        match self {
            Self::Device => timeout.place == Place::Device,
            Self::Program { role, comm } => {
                timeout.place == Place::End && ends(timeout, role) && comm.is_none_or(|comm| is_of(timeout, comm))
            }
        }
    }
}

fn opposite(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
        Role::Unknown => Role::Unknown,
    }
}

/// Whether the timeout ends connections at which its program has this role.
fn ends(timeout: &Timeout, role: Role) -> bool {
    match (timeout.role, role) {
        (None | Some(Ends::Proxy), _) | (_, Role::Unknown) => true,
        (Some(Ends::Client), role) => role == Role::Client,
        (Some(Ends::Server), role) => role == Role::Server,
    }
}

/// Whether a process with this command name may be the timeout's product. Runtimes name threads: beginnings count.
fn is_of(timeout: &Timeout, comm: &str) -> bool {
    timeout.comm.as_ref().is_none_or(|known| known.iter().any(|known| comm.starts_with(known.as_str())))
}
