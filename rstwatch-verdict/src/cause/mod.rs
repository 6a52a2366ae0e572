//! The vocabulary of verdicts: causes, senders, confidences, directions.
//!
//! *Reason* is the kernel's word (`sk_rst_reason`); *cause* is ours. They never mix.

use serde::Serialize;

#[macro_use]
mod words;

/// Declares [`Cause`] and [`TABLE`] from one list of entries.
macro_rules! causes {
    ($($variant:ident = $word:literal { brief: $brief:literal, $($field:ident : $value:expr,)+ })+) => {
        words! {
            /// Why the connection was reset.
            Cause { $(#[doc = $brief] $variant = $word,)+ }
        }

        /// Every cause, in the order of [`Cause::ALL`].
        pub const TABLE: &[Entry] =
            &[$(Entry { cause: Cause::$variant, brief: $brief, $($field: $value,)+ },)+];
    };
}

mod candidates;
mod table;

pub use candidates::Candidates;
pub use table::{Cause, TABLE};
pub use words::{Confidence, Direction, Sender};

/// What we know of one cause.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The cause.
    pub cause: Cause,
    /// One line for lists.
    pub brief: &'static str,
    /// A few words that name it among others: "the peer ended it: …". "its" is the peer's.
    pub phrase: &'static str,
    /// What happened, in a few sentences.
    pub means: &'static str,
    /// What to check, each with the command that shows it (or none).
    pub confirm: &'static [(&'static str, &'static str)],
    /// Advice in one short line to the end that reset the connection; empty where there is nothing to fix.
    pub fix: &'static str,
    /// Advice to the other end, the victim; empty where `fix` suits both. Advice in traces says "the server" or "the
    /// client" for "the peer" where the roles are known.
    pub fix_peer: &'static str,
    /// What else helps.
    pub fix_more: &'static [&'static str],
    /// Whether it usually needs no action.
    #[serde(skip)]
    pub benign: bool,
    /// The causes that this one covers when the evidence does not single one of them out: it is then a family. Most typical
    /// first.
    #[serde(skip)]
    pub covers: &'static [Cause],
    /// Its colour, the same in every chart and list.
    #[serde(skip)]
    pub colour: Colour,
}

/// A colour for each background, as `#rrggbb`. After Okabe and Ito, and Tol: each has a contrast of at least 3:1 with
/// its background; where two are similar, legends and words distinguish them.
#[derive(Clone, Copy, Debug)]
pub struct Colour {
    /// On the agent's page in the light scheme.
    pub light: &'static str,
    /// On the agent's page in the dark scheme.
    pub dark: &'static str,
    /// In Grafana, on either background.
    pub grafana: &'static str,
}

impl Cause {
    /// The families that charts fold other causes into. `refused` covers a firewall's reject too, but is a cause itself.
    pub const FAMILIES: [Self; 3] = [Self::PeerAbort, Self::NoSuchConnection, Self::MiddleboxInjected];

    /// The family that charts fold this cause into; itself if it is a family or belongs to none.
    ///
    /// Of several families that cover it, the one that lists it earliest, because it is most typical there.
    pub fn family(self) -> Self {
        let rank = |family: &Self| family.entry().covers.iter().position(|covered| *covered == self);
        let ranked = Self::FAMILIES.into_iter().filter_map(|family| Some((rank(&family)?, family)));
        let nearest = ranked.min_by_key(|(rank, _)| *rank).filter(|_| !Self::FAMILIES.contains(&self));
        nearest.map_or(self, |(_, family)| family)
    }

    /// What we know of it.
    pub fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }
}

impl Entry {
    /// Its advice, each line with the end that it is for unless it suits both.
    pub fn fixes(&self) -> Vec<String> {
        match (self.fix, self.fix_peer) {
            ("", "") => vec!["nothing to change for this alone".to_owned()],
            (fix, "") => vec![fix.to_owned()],
            (fix, fix_peer) => {
                vec![format!("at the end that sent the RST: {fix}"), format!("at the other end: {fix_peer}")]
            }
        }
    }

    /// The line of advice to one end: the one that reset the connection, or the other.
    pub fn advice(&self, to_the_resetting_end: bool) -> &'static str {
        if to_the_resetting_end || self.fix_peer.is_empty() { self.fix } else { self.fix_peer }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_cause_folds_into_one_family() {
        let words = |family: Cause| {
            let folded = Cause::ALL.iter().filter(|cause| cause.family() == family).map(|cause| cause.as_str());
            format!("{family}: {}\n", folded.collect::<Vec<_>>().join(" "))
        };
        let mut families: Vec<_> = Cause::ALL.iter().map(|cause| cause.family()).collect();
        families.sort();
        families.dedup();
        let text: String = families.into_iter().map(words).collect();
        expect![[r#"
            refused: refused
            middlebox_injected: middlebox_idle middlebox_injected firewall_reject conntrack_full
            no_such_connection: idle_reaped process_died data_after_close listen_overflow nat_untranslated no_such_connection invalid_handshake
            peer_abort: listener_closed unread_data linger_abort admin_abort keepalive_timeout peer_abort probe resource_limit mptcp
            unknown: unknown
            unsampled: unsampled
        "#]].assert_eq(&text);
    }

    #[test]
    fn a_family_covers_what_folds_into_it() {
        for cause in Cause::ALL {
            let family = cause.family();
            assert_eq!(family.family(), family, "{cause} folds twice");
            assert!(family == *cause || family.entry().covers.contains(cause), "{cause} is not of {family}");
        }
    }
}
