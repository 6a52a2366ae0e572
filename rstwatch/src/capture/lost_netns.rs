//! Warns once of each watched network namespace that is lost. The watch goes on: it shows what the others send.

use rstwatch_verdict::escape::printable;

use crate::kernel::netns::{Loss, Netns};
use crate::kernel::scan::{NOTICE, PeriodicScan, every_second};

/// Looks every second, on a thread of its own, until the guard is dropped or none is left. `None`: there is nothing to look
/// at, or no thread, without which the warnings are missing.
pub(super) fn watch(mut watched: Vec<Netns>) -> Option<PeriodicScan> {
    if watched.is_empty() {
        return None;
    }
    let look = move || {
        let lost: Vec<_> = watched.extract_if(.., |netns| netns.loss().is_some()).collect();
        for netns in lost {
            if let Some(loss) = netns.loss() {
                tracing::warn!("{}", warning(&netns.path().display().to_string(), loss, watched.is_empty()));
            }
        }
        !watched.is_empty()
    };
    every_second("netns", NOTICE, look).ok()
}

/// `last`: no other is watched, or all others were lost before.
fn warning(path: &str, loss: Loss, last: bool) -> String {
    let what = match loss {
        Loss::Gone => "is gone: it was deleted, or its last process ended",
        Loss::Unnamed => "is no longer at this path: rstwatch holds it open, so it exists until rstwatch ends",
    };
    let only = if last { "; no other is watched: to watch another, start rstwatch again with its path" } else { "" };
    format!("network namespace {} {what}{only}", printable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_loss_and_whether_it_was_the_last() {
        assert_eq!(
            warning("/run/netns/a\n", Loss::Gone, false),
            "network namespace /run/netns/a\\n is gone: it was deleted, or its last process ended"
        );
        assert_eq!(
            warning("/run/netns/b", Loss::Unnamed, true),
            "network namespace /run/netns/b is no longer at this path: rstwatch holds it open, so it exists until rstwatch \
             ends; no other is watched: to watch another, start rstwatch again with its path"
        );
    }
}
