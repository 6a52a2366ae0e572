//! HTTP basic authentication (RFC 7617): the request header, users and password hashes.

mod credentials;
mod users;
mod passwords;

pub(crate) use credentials::credentials;
pub(crate) use passwords::{PasswordChecker, PasswordResult};
pub(crate) use users::{COSTS, Users};
