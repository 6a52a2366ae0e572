//! Formatting of durations, counts and lines that several outputs share.

use std::borrow::Cow;
use std::time::Duration;

/// A sentence for users. Most are fixed, and an event of a flood must cost little.
pub type Sentence = Cow<'static, str>;

/// A duration for people, as [`seconds`].
pub fn length(duration: Duration) -> String {
    seconds(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A duration for programs: seconds, to the millisecond, because the kernel's times are no more precise.
pub fn fraction(duration: Duration) -> f64 {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "exact below 285,000 years")]
    let ms = ms as f64;
    ms / 1_000.0
}

/// `1 reset`, `2 resets`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A duration for people: `850 ms`, `61.2 s`, `432000 s`.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        // Truncated, because a time must never look longer than it was.
        1_000..1_000_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} s", ms / 1_000),
    }
}

/// Breaks text into lines of at most `width` columns, each after `indent`; ends with a newline.
pub fn wrap(text: &str, indent: &str, width: usize) -> String {
    let mut out = indent.to_owned();
    let mut column = indent.len();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent.len() && column + 1 + length > width {
            out += "\n";
            out += indent;
            column = indent.len();
        } else if column > indent.len() {
            out += " ";
            column += 1;
        }
        out += word;
        column += length;
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases = [
            (0, "0 ms"),
            (850, "850 ms"),
            (1_000, "1.0 s"),
            (61_249, "61.2 s"),
            (59_999, "59.9 s"),
            (7_200_000, "7200 s"),
        ];
        for (ms, text) in cases {
            assert_eq!(seconds(ms), text);
        }
    }

    #[test]
    fn fractions_are_short() {
        assert_eq!(fraction(Duration::from_micros(1_368_400)).to_string(), "1.368");
        assert_eq!(fraction(Duration::MAX), 18_446_744_073_709_552.0);
    }

    #[test]
    fn lines_break_at_words() {
        assert_eq!(wrap("aa bb cc", "  ", 7), "  aa bb\n  cc\n");
        assert_eq!(wrap("averylongword b", "", 5), "averylongword\nb\n");
    }
}
