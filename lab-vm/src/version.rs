//! Debian's order of versions (deb-version(7)).

use std::cmp::Ordering;

/// Which of two versions is older.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let ((a_epoch, a_rest), (b_epoch, b_rest)) = (split_epoch(a), split_epoch(b));
    let (a_parts, b_parts) = (split_revision(a_rest), split_revision(b_rest));
    a_epoch.cmp(&b_epoch).then_with(|| part(a_parts.0, b_parts.0)).then_with(|| part(a_parts.1, b_parts.1))
}

fn split_epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Compares by turns what is not a number and what is one.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_word, a_rest) = a.split_at(a.find(|c: char| c.is_ascii_digit()).unwrap_or(a.len()));
        let (b_word, b_rest) = b.split_at(b.find(|c: char| c.is_ascii_digit()).unwrap_or(b.len()));
        let (a_number, a_rest) = number(a_rest);
        let (b_number, b_rest) = number(b_rest);
        let order = word(a_word, b_word).then(a_number.cmp(&b_number));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn number(text: &str) -> (u64, &str) {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    (digits.parse().unwrap_or(0), rest)
}

/// A tilde sorts before the end, the end before letters, and letters before the rest.
fn word(a: &str, b: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => 0,
        None => 1,
        Some(c) if c.is_ascii_alphabetic() => u32::from(c),
        Some(c) => u32::from(c) + 0x100,
    };
    let (mut a, mut b) = (a.chars(), b.chars());
    loop {
        let (next_a, next_b) = (a.next(), b.next());
        let order = weight(next_a).cmp(&weight(next_b));
        if order != Ordering::Equal || next_a.is_none() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_dpkg_does() {
        let rising = [
            "5.10.9-1",
            "5.10.46-1",
            "6.1.176-1~deb11u1",
            "6.1.176-1",
            "6.12.9-1",
            "6.12.117-1",
            "7.3.4-1~bpo13+1",
            "7.3.4-1",
            "7.3.4a-1",
            "7.3.4+1-1",
            "1:1.0",
        ];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.0-1", "1.0-1"), Ordering::Equal);
        assert_eq!(compare("1.007-1", "1.7-1"), Ordering::Equal);
    }
}
