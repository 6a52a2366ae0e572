//! Parses timeouts from the shipped file and from users' configuration. Errors carry the entry's position.

use serde::Deserialize;
use toml::Spanned;

use super::{Ends, Expiry, Place, Source, Timeout};
use crate::escape::printable;

/// One year, the largest accepted timeout.
const MAX_SECONDS: i64 = 31_536_000;
const MAX_WHO_BYTES: usize = 80;
/// The kernel's TASK_COMM_LEN without the final NUL (include/linux/sched.h).
const MAX_COMM_BYTES: usize = 15;
const MAX_COMMS: usize = 16;

/// One entry as written. `i64` is TOML's integer type; the range is checked here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    seconds: i64,
    who: String,
    place: Option<String>,
    role: Option<String>,
    comm: Option<Vec<String>>,
    on_expiry: Option<String>,
    source: Option<String>,
}

/// The shipped file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    timeout: Vec<Spanned<Written>>,
}

/// The entries of a file that contains nothing else.
pub(super) fn parse(text: &str) -> Result<Vec<Timeout>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    checked(file.timeout).map_err(|(_, what)| what)
}

/// Checks entries.
///
/// # Errors
/// The byte offset of the first faulty entry, and one line with its name and its fault.
pub fn checked(written: Vec<Spanned<Written>>) -> Result<Vec<Timeout>, (usize, String)> {
    let check = |entry: Spanned<Written>| {
        let at = entry.span().start;
        let entry = entry.into_inner();
        let name = printable(&entry.who).into_owned();
        timeout(entry).map_err(|what| (at, format!("timeout \"{name}\": {what}")))
    };
    written.into_iter().map(check).collect()
}

fn timeout(entry: Written) -> Result<Timeout, String> {
    let Written { seconds, who, place, role, comm, on_expiry, source } = entry;
    if who.is_empty() || who.len() > MAX_WHO_BYTES || *printable(&who) != *who {
        return Err(format!("who must have 1 to {MAX_WHO_BYTES} printable bytes"));
    }
    let fitting = u32::try_from(seconds).ok().filter(|_| seconds <= MAX_SECONDS);
    let seconds = fitting.ok_or_else(|| format!("seconds is {seconds}: give 0 to {MAX_SECONDS}"))?;
    Ok(Timeout {
        seconds,
        who,
        place: word("place", place, &[("end", Place::End), ("device", Place::Device)])?.unwrap_or(Place::End),
        role: word("role", role, &[("client", Ends::Client), ("server", Ends::Server), ("proxy", Ends::Proxy)])?,
        comm: comm.map(comms).transpose()?,
        on_expiry: word(
            "on_expiry",
            on_expiry,
            &[("fin", Expiry::Fin), ("rst", Expiry::Rst), ("silent", Expiry::Silent)],
        )?,
        source: word("source", source, &[("documented", Source::Documented), ("memory", Source::Memory)])?,
    })
}

fn comms(comms: Vec<String>) -> Result<Vec<String>, String> {
    let is_comm = |comm: &String| (1..=MAX_COMM_BYTES).contains(&comm.len()) && *printable(comm) == **comm;
    if comms.len() > MAX_COMMS || !comms.iter().all(is_comm) {
        return Err(format!("comm must have at most {MAX_COMMS} names of 1 to {MAX_COMM_BYTES} printable bytes"));
    }
    Ok(comms)
}

fn word<T: Copy>(key: &str, value: Option<String>, words: &[(&str, T)]) -> Result<Option<T>, String> {
    let Some(value) = value else { return Ok(None) };
    let found = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| Some(*meaning));
    found.ok_or_else(|| {
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{key} is \"{}\": give {}", printable(&value), all.join(" or "))
    })
}
