//! What a verdict means, how to confirm it and what to change; the data is in [`cause::TABLE`](crate::cause::TABLE).

use std::fmt::Write;

use crate::cause::{Cause, Entry, TABLE};
use crate::text::wrap;

mod advice;

pub use advice::{advice, guidance, refused, refuser};

const WIDTH: usize = 78;

/// The text of `rstwatch explain`: one line per cause.
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
    let entry = cause.entry();
    let Entry { cause, brief, means, confirm, fix_more, benign, covers, .. } = entry;
    let mut out = format!("{cause}: {brief}\n\nMeaning\n{}", wrap(means, "  ", WIDTH));
    if *benign {
        out += "  Usually benign.\n";
    }
    if !covers.is_empty() {
        out += "\nCandidates, where the evidence does not single one out\n";
        out.extend(covers.iter().map(|cause| bullet(&format!("{} ({cause})", cause.entry().phrase))));
    }
    out += "\nConfirm\n";
    for (what, run) in *confirm {
        out += &bullet(what);
        if !run.is_empty() {
            _ = writeln!(out, "      {run}");
        }
    }
    out += "\nFix\n";
    out.extend(entry.fixes().iter().map(|fix| bullet(fix)));
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
