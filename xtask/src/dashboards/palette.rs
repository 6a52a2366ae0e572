//! Colours of words: each cause and each sender has one colour in every panel. Related causes have similar colours, and a family
//! keeps its colour whether causes are folded into it or not.

use rstwatch_verdict::cause::TABLE;

/// A word, and its colour as `#rrggbb`.
pub(super) type Word = (&'static str, &'static str);

/// Senders with their colours.
pub(super) const SENDERS: [Word; 6] = [
    ("local_app", "#E02F44"),
    ("local_kernel", "#3274D9"),
    ("local_firewall", "#A352CC"),
    ("peer", "#FF9830"),
    ("middlebox", "#E02FBF"),
    ("unknown", "#B8BEC7"),
];

/// Every cause with its colour, in the order of `rstwatch explain`.
pub(super) fn causes() -> Vec<Word> {
    TABLE.iter().map(|entry| (entry.cause.as_str(), entry.colour.grafana)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstwatch_verdict::cause::Sender;

    use super::*;

    #[test]
    fn every_cause_has_its_own_colour() {
        let colours: BTreeSet<_> = causes().into_iter().map(|(_, colour)| colour).collect();
        assert_eq!(colours.len(), causes().len());
    }

    #[test]
    fn every_sender_has_its_own_colour() {
        let colours: BTreeSet<_> = SENDERS.map(|(_, colour)| colour).into();
        assert_eq!(colours.len(), SENDERS.len());
        assert!(Sender::ALL.iter().map(|sender| sender.as_str()).eq(SENDERS.map(|(sender, _)| sender)));
    }
}
