//! What a verdict means, how to confirm it and what to change; the data is in [`cause::TABLE`](crate::cause::TABLE).

use std::fmt::Write;
use std::net::SocketAddr;

use crate::cause::{Cause, Direction, Entry, TABLE};
use crate::event::Event;
use crate::text::{length, seconds, wrap};
use crate::timing::Timer;

const WIDTH: usize = 78;

/// One line of advice for this event, or none if there is nothing to fix.
///
/// Its numbers come from the event and from the idle timeout that was seen, if one was.
pub fn advice(event: &Event, timer: Option<Timer>) -> Option<String> {
    let cause = event.cause;
    let advice = match cause {
        Cause::Refused => refused(event),
        Cause::IdleReaped => idle_reaped(event, timer),
        Cause::MiddleboxIdle => middlebox_idle(event, timer),
        _ => cause.entry().fix.to_owned(),
    };
    (!advice.is_empty()).then_some(advice)
}

fn refused(event: &Event) -> String {
    format!("start the server on {}, or point the client at the right address and port", refuser(event))
}

/// The end on which nothing listens.
fn refuser(event: &Event) -> SocketAddr {
    match event.direction {
        Direction::Sent => event.local,
        Direction::Received => event.remote,
    }
}

fn idle_reaped(event: &Event, timer: Option<Timer>) -> String {
    // The sender of the RST had closed first, so the pool to change is at the other end.
    let subject = match event.direction {
        Direction::Sent => "have clients keep",
        Direction::Received => "keep",
    };
    let bound = bound(event, timer).unwrap_or_else(|| "every hop's timeout".to_owned());
    format!("{subject} pooled connections idle for less than {bound}; retry idempotent requests once")
}

fn middlebox_idle(event: &Event, timer: Option<Timer>) -> String {
    let bound = bound(event, timer).unwrap_or_else(|| "the device's idle timeout".to_owned());
    format!("set TCP keepalive below {bound}, or raise that timeout")
}

/// The smallest timeout that fits, with its candidates; else the timeout that was seen to end the connection; else the
/// idle time before the reset, which is an upper bound.
fn bound(event: &Event, timer: Option<Timer>) -> Option<String> {
    let candidates = &event.timeout_candidates;
    if let Some(smallest) = candidates.iter().map(|candidate| candidate.seconds).min() {
        let named: Vec<_> = candidates.iter().map(|c| format!("{} {}", c.who, c.seconds)).collect();
        return Some(format!("{smallest} s (candidates: {})", named.join(", ")));
    }
    if let Some(timer) = timer.filter(|timer| timer.exact) {
        return Some(format!("{} (the timeout that was seen here)", length(timer.after)));
    }
    event.idle_ms.map(|idle_ms| format!("{} (the idle time that was fatal here)", seconds(idle_ms)))
}

/// The text of `rstwatch explain`: every cause in one line.
pub fn list() -> String {
    let width = TABLE.iter().map(|entry| entry.cause.as_str().len()).max().unwrap_or(0);
    let mut out = String::new();
    for entry in TABLE {
        _ = writeln!(out, "{:width$}  {}", entry.cause, entry.brief);
    }
    out
}

/// The text of `rstwatch explain CAUSE`.
pub fn text(cause: Cause) -> String {
    let Entry { cause, brief, means, confirm, fix, fix_more, benign, covers, colour: _ } = cause.entry();
    let mut out = format!("{cause}: {brief}\n\nMeaning\n{}", wrap(means, "  ", WIDTH));
    if !covers.is_empty() {
        let covered: Vec<_> = covers.iter().map(|cause| cause.as_str()).collect();
        let text = format!("It covers {} where the evidence does not single one of them out.", covered.join(", "));
        out += &wrap(&text, "  ", WIDTH);
    }
    if *benign {
        out += "  Usually benign.\n";
    }
    out += "\nConfirm\n";
    for (what, run) in *confirm {
        out += &bullet(what);
        if !run.is_empty() {
            _ = writeln!(out, "      {run}");
        }
    }
    out += "\nFix\n";
    if fix.is_empty() {
        out += "  Nothing to change for this alone.\n";
    } else {
        out += &bullet(fix);
    }
    out.extend(fix_more.iter().map(|more| bullet(more)));
    out
}

fn bullet(text: &str) -> String {
    let mut wrapped = wrap(text, "    ", WIDTH);
    wrapped.replace_range(2..3, "-");
    wrapped
}

#[cfg(test)]
mod tests;
