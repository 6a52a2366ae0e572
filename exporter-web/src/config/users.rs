//! `basic_auth_users`: names with bcrypt hashes.

use std::collections::BTreeMap;

use bcrypt::HashParts;
use serde_saphyr::Spanned;

use super::error::Invalid;
use crate::auth::{COSTS, Users};

/// The users of a section, checked.
pub(super) fn users(section: BTreeMap<String, Spanned<String>>) -> Result<Users, Invalid> {
    let hashes = section.into_iter().map(|(name, hash)| {
        check(&name, &hash)?;
        Ok((name, hash.value))
    });
    hashes.collect::<Result<_, _>>().map(Users::new)
}

fn check(name: &str, hash: &Spanned<String>) -> Result<(), Invalid> {
    let Ok(parts) = hash.value.parse::<HashParts>() else {
        // Without the text itself: it may be the password.
        let message = format!("the password of {name:?} is not a bcrypt hash: create one with htpasswd -nBC 10");
        return Err(Invalid::at(hash, message));
    };
    let cost = parts.get_cost();
    if COSTS.contains(&cost) {
        return Ok(());
    }
    let (least, most) = (COSTS.start(), COSTS.end());
    let message = format!("the bcrypt hash of {name:?} has cost {cost}: use a cost from {least} to {most}, such as 10");
    Err(Invalid::at(hash, message))
}
