//! Basic authentication (RFC 7617): users, passwords and the request header.

mod credentials;
mod users;
mod passwords;

pub(crate) use credentials::credentials;
pub(crate) use passwords::{PasswordChecker, PasswordResult};
pub(crate) use users::{COSTS, Users};
