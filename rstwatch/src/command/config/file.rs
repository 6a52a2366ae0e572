//! The schema of the file, and the range of each value.

use std::ops::RangeInclusive;

use rstwatch_common::settings::MIN_CONNECTIONS;
use serde::Deserialize;
use toml::Spanned;

use super::{Config, Fault};
use crate::identity::kubernetes::settings as kubernetes;
use crate::kernel::memory::MAX_CONNECTIONS;
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::known_timeouts::file as known_timeouts;

const WORKLOADS: RangeInclusive<i64> = 1..=100_000;
const CONNECTIONS: RangeInclusive<i64> = MIN_CONNECTIONS as i64..=MAX_CONNECTIONS as i64;
const RING_BYTES: RangeInclusive<i64> = 65_536..=1 << 30;
const DETAILS: RangeInclusive<i64> = 1..=1_000_000;
const LISTENERS: RangeInclusive<i64> = 1..=100_000;
const DESTINATIONS: RangeInclusive<i64> = 1..=100_000;
const SERIES: RangeInclusive<i64> = 0..=10_000;
const NODE_NAME_BYTES: usize = 253;

/// The file as written. Numbers are `i64`, TOML's integer type, so that the range check can name the key and its line.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node_name: Option<Spanned<String>>,
    workload_limit: Option<Spanned<i64>>,
    connection_limit: Option<Spanned<i64>>,
    ring_buffer_bytes: Option<Spanned<i64>>,
    detail_rate_per_second: Option<Spanned<i64>>,
    detail_burst: Option<Spanned<i64>>,
    timeout_destinations: Option<Spanned<i64>>,
    timeout_series: Option<Spanned<i64>>,
    listener_series: Option<Spanned<i64>>,
    #[serde(default)]
    timeout: Vec<Spanned<known_timeouts::Written>>,
    kubernetes: Option<kubernetes::Written>,
}

/// Parses a file and checks every value.
pub(super) fn parse(text: &str) -> Result<Config, Fault> {
    let file: File = toml::from_str(text).map_err(|error| Fault {
        at: error.span().map_or(0, |span| span.start),
        what: printable(&error.message().replace('\n', ": ")).into_owned(),
    })?;
    let fault = |(at, what)| Fault { at, what };
    let mut config = Config {
        node_name: file.node_name.map(checked_name).transpose()?,
        timeouts: known_timeouts::checked(file.timeout).map_err(fault)?,
        kubernetes: kubernetes::checked(file.kubernetes).map_err(fault)?,
        ..Config::default()
    };
    set("workload_limit", &mut config.workload_limit, file.workload_limit, WORKLOADS)?;
    set_power_of_two("connection_limit", &mut config.connection_limit, file.connection_limit, CONNECTIONS)?;
    set_power_of_two("ring_buffer_bytes", &mut config.ring_buffer_bytes, file.ring_buffer_bytes, RING_BYTES)?;
    set("detail_rate_per_second", &mut config.detail_rate_per_second, file.detail_rate_per_second, DETAILS)?;
    set("detail_burst", &mut config.detail_burst, file.detail_burst, DETAILS)?;
    set("timeout_destinations", &mut config.timeout_destinations, file.timeout_destinations, DESTINATIONS)?;
    set("timeout_series", &mut config.timeout_series, file.timeout_series, SERIES)?;
    set("listener_series", &mut config.listener_series, file.listener_series, LISTENERS)?;
    Ok(config)
}

fn checked_name(name: Spanned<String>) -> Result<String, Fault> {
    let at = name.span().start;
    node_name(&name.into_inner()).map_err(|error| Fault { at, what: format!("node_name is {error}") })
}

/// Checks the name of a node.
///
/// # Errors
/// What is wrong with the name, as words that follow "node_name is".
pub fn node_name(name: &str) -> Result<String, String> {
    match name {
        "" => Err("empty: give a name, or leave it out for the host name".to_owned()),
        _ if name.len() > NODE_NAME_BYTES => Err(format!("longer than {NODE_NAME_BYTES} bytes")),
        _ if *printable(name) != *name => Err("not printable".to_owned()),
        _ => Ok(name.to_owned()),
    }
}

/// Replaces a default by the value in the file, if there is one.
fn set<T: TryFrom<i64>>(
    key: &str,
    field: &mut T,
    value: Option<Spanned<i64>>,
    range: RangeInclusive<i64>,
) -> Result<(), Fault> {
    let Some(value) = value else { return Ok(()) };
    let (at, value) = (value.span().start, value.into_inner());
    let in_range = range.contains(&value).then(|| T::try_from(value).ok()).flatten();
    let out_of_range = || Fault { at, what: format!("{key} is {value}: give {} to {}", range.start(), range.end()) };
    *field = in_range.ok_or_else(out_of_range)?;
    Ok(())
}

fn set_power_of_two(
    key: &str,
    field: &mut u32,
    value: Option<Spanned<i64>>,
    range: RangeInclusive<i64>,
) -> Result<(), Fault> {
    let at = value.as_ref().map_or(0, |value| value.span().start);
    set(key, field, value, range)?;
    if field.is_power_of_two() {
        return Ok(());
    }
    Err(Fault { at, what: format!("{key} is {field}: give a power of two, such as {}", field.next_power_of_two()) })
}
